//! Node agents, movers and those who ask them, against an API server in this process. The test plays the kubelet: it
//! starts pods, and runs the real mover for each mover pod.

mod agents;
mod faults;
mod world;
