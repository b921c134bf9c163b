//! Volumes against a real API server. Without `SALVOR_E2E_KUBECONFIG`, these tests are skipped aloud.

mod csi;
