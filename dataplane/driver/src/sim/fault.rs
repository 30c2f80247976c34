//! What can go wrong in the simulated network: the kinds, how likely each is, and how often each happened.

#![forbid(unsafe_code)]

/// A kind of fault. Each is drawn at its own point of the simulation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fault {
    /// A piece of a stream travels up to 50 times longer than usual.
    LatencySpike,
    /// A direction stands still, for up to [`FaultPlan::stall_us_max`].
    Stall,
    /// Bytes that could arrive together arrive in pieces, cut at any byte.
    Split,
    /// The connection is reset for both ends, at any byte.
    Reset,
    /// A send takes only a part although there is room.
    ShortSend,
    /// A send takes nothing although there is room.
    SendBlocked,
    /// A receive gets less than what is there.
    ShortRead,
    /// Completions of several sockets are handed out in another order.
    Reorder,
    /// A turn hands out only a few of the completions it has.
    ShortTurn,
    /// A connect is refused although somebody listens.
    ConnectRefused,
    /// A connect gets no answer until the kernel's own limit.
    ConnectTimeout,
    /// A connect fails at once, for want of descriptors or memory.
    ConnectError,
    /// An accept fails for want of descriptors or memory.
    AcceptFailed,
    /// `Closed` comes late.
    LateClosed,
    /// `Detached` comes late.
    LateDetached,
    /// `Woken` comes although nobody woke the driver.
    SpuriousWake,
    /// A splice is not available.
    NoSplice,
    /// The end of the peer's direction is not told while the socket is paused.
    EndUnseen,
    /// A datagram is lost.
    DatagramLoss,
    /// A datagram arrives twice.
    DatagramTwice,
    /// A datagram is overtaken by later ones.
    DatagramLate,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 21] = [
        Fault::LatencySpike,
        Fault::Stall,
        Fault::Split,
        Fault::Reset,
        Fault::ShortSend,
        Fault::SendBlocked,
        Fault::ShortRead,
        Fault::Reorder,
        Fault::ShortTurn,
        Fault::ConnectRefused,
        Fault::ConnectTimeout,
        Fault::ConnectError,
        Fault::AcceptFailed,
        Fault::LateClosed,
        Fault::LateDetached,
        Fault::SpuriousWake,
        Fault::NoSplice,
        Fault::EndUnseen,
        Fault::DatagramLoss,
        Fault::DatagramTwice,
        Fault::DatagramLate,
    ];
}

/// How likely each kind is, in parts per million of the points where it can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    ppm: [u32; Fault::ALL.len()],
    /// The longest [`Fault::Stall`]. Microseconds.
    pub stall_us_max: u64,
}

impl FaultPlan {
    /// No fault at all.
    pub fn none() -> FaultPlan {
        FaultPlan { ppm: [0; Fault::ALL.len()], stall_us_max: 2_000_000 }
    }

    /// Faults that lose nothing: pieces, short sends and reads, other orders, late completions. Every exchange must succeed.
    pub fn harmless() -> FaultPlan {
        FaultPlan::none()
            .with(Fault::LatencySpike, 20_000)
            .with(Fault::Split, 300_000)
            .with(Fault::ShortSend, 150_000)
            .with(Fault::SendBlocked, 50_000)
            .with(Fault::ShortRead, 150_000)
            .with(Fault::Reorder, 300_000)
            .with(Fault::ShortTurn, 200_000)
            .with(Fault::LateClosed, 200_000)
            .with(Fault::LateDetached, 300_000)
            .with(Fault::SpuriousWake, 20_000)
            .with(Fault::NoSplice, 300_000)
            .with(Fault::EndUnseen, 300_000)
    }

    /// Everything, losses included.
    pub fn storm() -> FaultPlan {
        FaultPlan::harmless()
            .with(Fault::Stall, 2_000)
            .with(Fault::Reset, 3_000)
            .with(Fault::ConnectRefused, 30_000)
            .with(Fault::ConnectTimeout, 10_000)
            .with(Fault::ConnectError, 10_000)
            .with(Fault::AcceptFailed, 20_000)
            .with(Fault::DatagramLoss, 50_000)
            .with(Fault::DatagramTwice, 20_000)
            .with(Fault::DatagramLate, 50_000)
    }

    /// The same plan with another probability for one kind. Parts per million.
    #[must_use]
    pub fn with(mut self, fault: Fault, ppm: u32) -> FaultPlan {
        self.ppm[fault as usize] = ppm;
        self
    }

    /// The probability of one kind. Parts per million.
    pub fn ppm(&self, fault: Fault) -> u32 {
        self.ppm[fault as usize]
    }
}

/// How often each kind happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// Counts one.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often that kind happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &FaultCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// All faults together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl std::fmt::Display for FaultCounts {
    /// `Split 120, Reset 3, …`, kinds that happened only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for fault in Fault::ALL.into_iter().filter(|fault| self.of(*fault) > 0) {
            write!(f, "{separator}{fault:?} {}", self.of(fault))?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_their_order() {
        for (i, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, i);
        }
    }

    #[test]
    fn counts_add_up_and_print_what_happened() {
        let mut counts = FaultCounts::default();
        counts.add(Fault::Reset);
        counts.add(Fault::Split);
        let mut all = counts.clone();
        all.merge(&counts);
        assert_eq!((all.of(Fault::Reset), all.total()), (2, 4));
        assert_eq!(counts.to_string(), "Split 1, Reset 1");
    }
}
