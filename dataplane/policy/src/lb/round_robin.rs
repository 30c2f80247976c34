//! Round robin: in turn, from a random start; weights are ignored.

/// Where the turn is.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    next: u64,
}

impl RoundRobin {
    /// Starts at a place made from `start`, which may be any number.
    pub(super) fn new(start: u64) -> RoundRobin {
        RoundRobin { next: start }
    }

    /// The next of `endpoints` (at least 2) that is not `avoid`.
    #[inline]
    pub(super) fn pick(&mut self, endpoints: u32, avoid: Option<u32>) -> u32 {
        let endpoint = self.advance(endpoints);
        if Some(endpoint) == avoid { self.advance(endpoints) } else { endpoint }
    }

    #[inline]
    fn advance(&mut self, endpoints: u32) -> u32 {
        let endpoints = u64::from(endpoints);
        if self.next >= endpoints {
            self.next %= endpoints;
        }
        let endpoint = self.next as u32;
        self.next += 1;
        endpoint
    }
}
