//! Waking a driver from another thread: an eventfd behind a flag, so that many wake-ups cost one write.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::{self, Errno};

/// Shared by the driver and all its wakers; lives as long as the last of them.
pub(crate) struct WakeFd {
    fd: OwnedFd,
    /// A wake-up is under way and has not been seen by the driver.
    pending: AtomicBool,
}

impl WakeFd {
    pub(crate) fn new() -> Result<Arc<WakeFd>, Errno> {
        Ok(Arc::new(WakeFd { fd: sys::eventfd()?, pending: AtomicBool::new(false) }))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Called by any thread.
    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            sys::eventfd_signal(self.raw());
        }
    }

    /// Called by the driver before it reports the wake-up, so that a later `wake` is reported again. False: it was
    /// reported already.
    pub(crate) fn seen(&self) -> bool {
        self.pending.swap(false, Ordering::AcqRel)
    }
}
