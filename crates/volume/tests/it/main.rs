//! Volumes against an API server in this process: snapshots by CSI drivers; node agents, movers and those who ask them,
//! for which the test plays the kubelet: it starts pods, and runs the real mover for each mover pod.

mod agents;
mod csi;
mod faults;
mod in_place;
mod native;
mod world;
