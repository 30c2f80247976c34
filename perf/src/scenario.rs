//! The scenarios of the comparison: what the origin speaks, what the clients send, which config a proxy gets.

use crate::{
    answer::Expect,
    failure::{Failure, Result},
    load::Shape,
    origin::Speaks,
};
use serde::Serialize;
use std::net::SocketAddr;

/// Bytes of an L4 request and of the small answers.
const SMALL: usize = 1024;
/// Bytes of the large answers.
const LARGE: usize = 64 * 1024;
/// Requests per second of the open loop.
const OPEN_PER_SECOND: u32 = 5_000;

/// One line of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Scenario {
    /// TCP, 1 KiB request, 1 KiB answer.
    L4Small,
    /// TCP, 1 KiB request, 64 KiB answer.
    L4Large,
    /// HTTP/1.1 keep-alive, 1 KiB body.
    H1Small,
    /// HTTP/1.1 keep-alive, 64 KiB body.
    H1Large,
    /// HTTP/1.1, 1 KiB body, a new client connection for each request.
    Connection,
    /// HTTP/1.1 keep-alive, 1 KiB body, 5,000 requests per second by the clock.
    Open,
}

impl Scenario {
    /// Every scenario in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::L4Small, Self::L4Large, Self::H1Small, Self::H1Large, Self::Connection, Self::Open];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::L4Small => "l4-1k",
            Self::L4Large => "l4-64k",
            Self::H1Small => "h1-1k",
            Self::H1Large => "h1-64k",
            Self::Connection => "conn",
            Self::Open => "open-5000",
        }
    }

    /// The scenario with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            Failure::new(format!("no scenario `{name}`; there are {}", names.join(", ")))
        })
    }

    /// Which config template the proxies get.
    pub fn work(self) -> &'static str {
        if self.is_l4() { "l4" } else { "h1" }
    }

    /// What the origin speaks.
    pub fn origin(self) -> Speaks {
        match (self.is_l4(), self.body()) {
            (true, answer) => Speaks::Framed { request: SMALL, answer },
            (false, body) => Speaks::Http { body },
        }
    }

    /// What the clients expect.
    pub fn expect(self) -> Expect {
        if self.is_l4() { Expect::Framed(self.body()) } else { Expect::Http(self.body()) }
    }

    /// When requests leave.
    pub fn shape(self) -> Shape {
        match self {
            Self::Connection => Shape::PerConnection,
            Self::Open => Shape::Open(OPEN_PER_SECOND),
            _ => Shape::Closed,
        }
    }

    /// The bytes of a request, with the fields a small client sends.
    pub fn request(self, to: SocketAddr) -> Vec<u8> {
        if self.is_l4() {
            return vec![b'q'; SMALL];
        }
        let last = if self == Self::Connection { "Connection: close\r\n" } else { "" };
        format!("GET /bytes HTTP/1.1\r\nHost: {to}\r\nUser-Agent: load\r\nAccept: */*\r\n{last}\r\n")
            .into_bytes()
    }

    fn is_l4(self) -> bool {
        matches!(self, Self::L4Small | Self::L4Large)
    }

    fn body(self) -> usize {
        if matches!(self, Self::L4Large | Self::H1Large) { LARGE } else { SMALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() -> Result<()> {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name())?, scenario);
        }
        assert!(Scenario::named("h2").is_err());
        Ok(())
    }

    #[test]
    fn only_connection_per_request_announces_its_end() {
        let to = SocketAddr::from(([127, 0, 0, 1], 80));
        for scenario in Scenario::ALL {
            let request = String::from_utf8_lossy(&scenario.request(to)).into_owned();
            assert_eq!(request.contains("Connection: close"), scenario == Scenario::Connection, "{request}");
        }
    }
}
