//! Bytes that may be in flight between the reader and the workers.

use std::sync::{Condvar, Mutex};

/// A number of bytes; who wants some waits until they are there.
#[derive(Debug)]
pub(super) struct Budget {
    left: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: Mutex::new(bytes),
            freed: Condvar::new(),
        }
    }

    /// Waits for `bytes`, which must not be more than there ever are.
    pub(super) fn take(&self, bytes: usize) {
        let mut left = self.left.lock().expect("no holder panics");
        while *left < bytes {
            left = self.freed.wait(left).expect("no holder panics");
        }
        *left -= bytes;
    }

    pub(super) fn give(&self, bytes: usize) {
        *self.left.lock().expect("no holder panics") += bytes;
        self.freed.notify_all();
    }
}
