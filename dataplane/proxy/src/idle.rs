//! `idle: poll`: keeps the machine's cores out of deep sleep for as long as the process lives.

use std::fs::{File, OpenOptions};
use std::io::Write;

/// Where the kernel takes wake-up latency requests; one is in force while its descriptor stays open.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// A request for no wake-up latency on the whole machine; dropping it withdraws the request.
#[derive(Debug)]
pub struct NoSleep {
    _device: File,
}

/// Asks the kernel for 0 us of wake-up latency. Errors when the device is missing or not writable for this user.
pub fn hold() -> std::io::Result<NoSleep> {
    let mut device = OpenOptions::new().write(true).open(DEVICE)?;
    device.write_all(&0i32.to_ne_bytes())?;
    Ok(NoSleep { _device: device })
}
