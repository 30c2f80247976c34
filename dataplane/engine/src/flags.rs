//! Why an exchange ended as it did: response flags with Envoy's letters, and a reason for each local reply.

/// A response flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// No healthy upstream: the cluster has no endpoint.
    NoHealthyUpstream,
    /// Upstream connection failure.
    UpstreamConnectionFailure,
    /// Upstream overflow: a limit of the cluster.
    UpstreamOverflow,
    /// No route found.
    NoRouteFound,
    /// Upstream request timeout (route or attempt).
    UpstreamRequestTimeout,
    /// Upstream connection termination: ended in the middle of an answer, or before it.
    UpstreamConnectionTermination,
    /// Upstream remote reset.
    UpstreamRemoteReset,
    /// Upstream protocol error: the answer was malformed.
    UpstreamProtocolError,
    /// Upstream retry limit exceeded.
    UpstreamRetryLimitExceeded,
    /// Downstream connection termination: the client went away.
    DownstreamConnectionTermination,
    /// Downstream protocol error: the request was malformed.
    DownstreamProtocolError,
    /// Stream idle timeout.
    StreamIdleTimeout,
    /// Longest duration of the exchange reached.
    DurationTimeout,
    /// The request's head or body took too long.
    DownstreamTimeout,
    /// Overload: shed by the overload manager.
    OverloadManager,
    /// Local reset: cut off by a drain deadline or a stop.
    LocalReset,
    /// A direct response or redirect of a route.
    DirectResponse,
}

impl Flag {
    /// All flags, in the order of their numbers.
    pub const ALL: [Flag; 17] = [
        Flag::NoHealthyUpstream,
        Flag::UpstreamConnectionFailure,
        Flag::UpstreamOverflow,
        Flag::NoRouteFound,
        Flag::UpstreamRequestTimeout,
        Flag::UpstreamConnectionTermination,
        Flag::UpstreamRemoteReset,
        Flag::UpstreamProtocolError,
        Flag::UpstreamRetryLimitExceeded,
        Flag::DownstreamConnectionTermination,
        Flag::DownstreamProtocolError,
        Flag::StreamIdleTimeout,
        Flag::DurationTimeout,
        Flag::DownstreamTimeout,
        Flag::OverloadManager,
        Flag::LocalReset,
        Flag::DirectResponse,
    ];

    /// Envoy's letters. `RT` (downstream too slow) and `DR` (direct response) are ours.
    pub const fn letters(self) -> &'static str {
        match self {
            Flag::NoHealthyUpstream => "UH",
            Flag::UpstreamConnectionFailure => "UF",
            Flag::UpstreamOverflow => "UO",
            Flag::NoRouteFound => "NR",
            Flag::UpstreamRequestTimeout => "UT",
            Flag::UpstreamConnectionTermination => "UC",
            Flag::UpstreamRemoteReset => "UR",
            Flag::UpstreamProtocolError => "UPE",
            Flag::UpstreamRetryLimitExceeded => "URX",
            Flag::DownstreamConnectionTermination => "DC",
            Flag::DownstreamProtocolError => "DPE",
            Flag::StreamIdleTimeout => "SI",
            Flag::DurationTimeout => "DT",
            Flag::DownstreamTimeout => "RT",
            Flag::OverloadManager => "OM",
            Flag::LocalReset => "LR",
            Flag::DirectResponse => "DR",
        }
    }
}

/// A set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Adds one.
    pub fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u32;
    }
    /// Contains it.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }
    /// None set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Those set, in order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |f| self.has(*f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_letters_are_unique() {
        for (i, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, i);
            assert_eq!(Flag::ALL.iter().filter(|f| f.letters() == flag.letters()).count(), 1);
        }
    }
}
