//! Scripted peers and a running `ringway`, for suites whose expectations are written by hand from the RFCs.
#![forbid(unsafe_code)]

pub mod cases;
pub mod config;
pub mod http;
pub mod message;
pub mod peer;
pub mod process;

use std::time::Duration;

/// Longest wait for anything in these suites; reaching it is a failure, never a pass.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Makes two tests of each function named, one per driver: `name::epoll` and `name::uring`. Where io_uring does not work the
/// second says so and does nothing.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            #[test]
            fn epoll() {
                super::$name("epoll");
            }
            #[test]
            fn uring() {
                match $crate::process::uring_refused() {
                    None => super::$name("uring"),
                    Some(why) => println!("skipped: {why}"),
                }
            }
        }
    )* };
}
