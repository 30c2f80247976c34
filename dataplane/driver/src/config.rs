//! Settings of the OS drivers. Every one has a default that was measured or reasoned about.

use crate::Micros;

/// Settings of one driver (one thread).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// How long `turn(.., spin: true)` looks for completions before it sleeps. Microseconds; 20 measured as good as 60.
    pub spin_us: Micros,
    /// An accepted connection that has not been registered with the poller for this long is registered, so that a
    /// client that vanished is noticed. Microseconds. Long enough that a connection per request never is.
    pub register_late_us: Micros,
    /// A gracefully closing socket that made no progress for this long is reset. Microseconds.
    pub close_idle_us: Micros,
    /// A TCP listening socket that is being closed goes on accepting for this long, while new connection requests are dropped:
    /// connections that the client already holds open, but the kernel has not handed over yet (TCP_DEFER_ACCEPT, or the last
    /// packet of the handshake on its way), would be reset with it. Microseconds.
    pub listener_linger_us: Micros,
    /// Readiness events or completions fetched by one wait.
    pub events: u32,
    /// Submission queue entries of a ring (the completion queue has four times as many).
    pub ring_entries: u32,
    /// Ring buffers (4 KiB payload) at the start, and added at each growth.
    pub small_buffers: u16,
    /// Cap of the memory of all ring buffers after growth. Bytes.
    pub ring_bytes_max: usize,
}

impl Default for DriverConfig {
    fn default() -> Self {
        DriverConfig {
            spin_us: 20,
            register_late_us: 20_000,
            close_idle_us: 30_000_000,
            listener_linger_us: 100_000,
            events: 256,
            ring_entries: 512,
            small_buffers: 128,
            ring_bytes_max: 8 << 20,
        }
    }
}

/// Which driver to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// `uring` where its self-test passes, else `epoll`.
    #[default]
    Auto,
    /// `uring`, or an error.
    Uring,
    /// `epoll`.
    Epoll,
}

/// Which driver was opened, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// `uring` or `epoll`.
    pub name: &'static str,
    /// One sentence for the log and the admin API.
    pub reason: String,
}
