//! Addresses on the command line: `IP:PORT`, `[IPv6]:PORT`, `NAME:PORT`, `:PORT`, `PORT` and `unix:/path`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ringway_policy::spec::Address;

/// Longest path of a unix socket. Bytes (`sun_path` without its final NUL).
pub const UNIX_PATH_MAX: usize = 107;

/// Parses where to connect to; a port alone means this machine.
pub fn upstream(text: &str) -> Result<Address, String> {
    let bare =
        text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)).unwrap_or(text);
    if let Some(path) = bare.strip_prefix("unix:") {
        return unix(path);
    }
    if let Ok(address) = bare.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(format!("{text:?}: port 0 cannot be connected to")),
            _ => Ok(Address::Inet(address)),
        };
    }
    let (host, port) = bare.rsplit_once(':').unwrap_or(("", bare));
    let port: u16 =
        port.parse().map_err(|_| expected(text, "127.0.0.1:3000, [::1]:3000, name:3000 or unix:/path"))?;
    match host {
        _ if port == 0 => Err(format!("{text:?}: port 0 cannot be connected to")),
        "" | "localhost" => Ok(Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
        name if is_name(name) => Ok(Address::Dns(name.to_ascii_lowercase().into(), port)),
        _ => Err(expected(text, "127.0.0.1:3000, [::1]:3000, name:3000 or unix:/path")),
    }
}

/// Parses where to listen, or `off`.
pub fn local(text: &str) -> Result<Option<Address>, String> {
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(Some);
    }
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_string(), |port| format!("127.0.0.1:{port}"));
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Some(Address::Inet(address))),
        Err(_) => Err(expected(&text, "127.0.0.1:9901, [::1]:9901, unix:/path or off")),
    }
}

/// Shows an address the way it is written in a configuration.
pub fn show(address: &Address) -> String {
    match address {
        Address::Inet(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{path}"),
        Address::Dns(name, port) => format!("{name}:{port}"),
    }
}

fn unix(path: &str) -> Result<Address, String> {
    match path.len() {
        0 => Err("unix: needs a path, such as unix:/run/ringway/admin.sock".to_string()),
        n if n > UNIX_PATH_MAX => {
            Err(format!("unix socket paths have at most {UNIX_PATH_MAX} bytes, this one has {n}"))
        }
        _ => Ok(Address::Unix(Arc::from(path))),
    }
}

fn is_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn expected(text: &str, forms: &str) -> String {
    format!("{text:?} is no address; expected {forms}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_forms() {
        for (text, shown) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[::1]:3000", "[::1]:3000"),
            (":3000", "127.0.0.1:3000"),
            ("3000", "127.0.0.1:3000"),
            ("localhost:3000", "127.0.0.1:3000"),
            ("http://127.0.0.1:3000/", "127.0.0.1:3000"),
            ("App.Example:80", "app.example:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(upstream(text).map(|a| show(&a)).as_deref(), Ok(shown), "{text}");
        }
        for text in
            ["", "nonsense", "host:", "host:99999", "a b:80", "127.0.0.1:0", "https://x:1/path", "unix:"]
        {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn local_forms() {
        assert_eq!(local("off"), Ok(None));
        assert_eq!(local("localhost:9901").map(|a| a.map(|a| show(&a))), Ok(Some("127.0.0.1:9901".into())));
        assert_eq!(local("unix:/a").map(|a| a.map(|a| show(&a))), Ok(Some("unix:/a".into())));
        for text in ["", "9901", "example.com:80", "unix:", &format!("unix:/{}", "x".repeat(UNIX_PATH_MAX))] {
            assert!(local(text).is_err(), "{text}");
        }
    }
}
