//! Durations, sizes, addresses and address ranges: text to value and back.

use std::net::{IpAddr, SocketAddr};

use ringway_policy::spec::{Address, Cidr};

const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Sizes are shown in the largest binary unit that divides them.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const SIZE_UNITS_SHOWN: usize = 5;

/// Bytes of a unix socket's path that fit `sockaddr_un` with its terminator.
pub(crate) const UNIX_PATH_MAX: usize = 107;
/// RFC 1035 section 2.3.4.
const HOST_NAME_MAX: usize = 253;
const HOST_LABEL_MAX: usize = 63;

/// Text to value; the error is a suggestion, where there is one.
pub(crate) type Parse = fn(&str) -> Result<u64, Option<String>>;
/// Value to text.
pub(crate) type Show = fn(u64) -> String;

/// Milliseconds of `15s`, `250ms`, `1m30s`. The error is a suggestion, where there is one.
pub(crate) fn duration(text: &str) -> Result<u64, Option<String>> {
    with_units(text, DURATION_UNITS, "s")
}

/// Bytes of `60KiB`, `1MB`, `4096B`. The error is a suggestion, where there is one.
pub(crate) fn size(text: &str) -> Result<u64, Option<String>> {
    with_units(text, SIZE_UNITS, "B")
}

/// The shortest text of that many milliseconds in one unit.
pub(crate) fn show_duration(ms: u64) -> String {
    show_units(ms, DURATION_UNITS, "0s")
}

/// The shortest text of that many bytes in one unit.
pub(crate) fn show_size(bytes: u64) -> String {
    show_units(bytes, &SIZE_UNITS[..SIZE_UNITS_SHOWN], "0B")
}

fn show_units(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fitting = units.iter().rev().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    fitting.map_or(zero.into(), |(unit, factor)| format!("{}{unit}", value / factor))
}

/// A sum of whole numbers with units, each unit once, the larger first.
fn with_units(text: &str, units: &[(&str, u64)], plain: &str) -> Result<u64, Option<String>> {
    let guess = || guess_units(text, units, plain);
    let (mut rest, mut total, mut smallest) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let (unit, next) = behind.split_at(letters);
        let factor = units.iter().find(|(name, _)| *name == unit).ok_or_else(guess)?.1;
        let part =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(guess)?;
        if factor >= smallest {
            return Err(guess());
        }
        total = total.checked_add(part).ok_or(None)?;
        (rest, smallest) = (next, factor);
    }
    if smallest == u64::MAX { Err(None) } else { Ok(total) }
}

/// What was probably meant: a missing unit, another case of a unit, a space or a fraction.
fn guess_units(text: &str, units: &[(&str, u64)], plain: &str) -> Option<String> {
    let text = text.replace([' ', '_', ','], "");
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { plain } else { unit };
    let spellings =
        [("sec", "s"), ("secs", "s"), ("seconds", "s"), ("min", "m"), ("mins", "m"), ("minutes", "m")];
    let more = [
        ("hours", "h"),
        ("hour", "h"),
        ("days", "d"),
        ("k", "KiB"),
        ("m", "MiB"),
        ("g", "GiB"),
        ("ki", "KiB"),
    ];
    let known = |name: &str| units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name));
    let spelled = || {
        let mut all = spellings.iter().chain(&more);
        all.find(|(spelling, _)| spelling.eq_ignore_ascii_case(unit)).and_then(|(_, name)| known(name))
    };
    let (unit, factor) = known(unit).or_else(spelled)?;
    if number.parse::<u64>().is_ok() {
        return Some(format!("{number}{unit}"));
    }
    let scaled = number.parse::<f64>().ok()? * *factor as f64;
    let whole = scaled.fract() == 0.0 && scaled > 0.0 && scaled < 1e15;
    whole.then(|| if plain == "s" { show_duration(scaled as u64) } else { show_size(scaled as u64) })
}

/// Which kinds of address a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To listen on: IP with port (0 = any free one), or a unix socket.
    Listen,
    /// To connect to: IP or name with port, or a unix socket.
    Connect,
}

/// Why a text is no address: message and suggestion.
pub(crate) type AddressError = (String, Option<String>);

/// `127.0.0.1:80`, `[::1]:80`, `unix:/path` and, to connect to, `name:80`.
pub(crate) fn address(text: &str, place: Place) -> Result<Address, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|path| Address::Unix(path.into()));
    }
    if text.starts_with('/') {
        return Err((format!("`{text}` is a path without `unix:`"), Some(format!("unix:{text}"))));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or(rest);
        return Err((format!("`{scheme}://` does not belong in an address"), Some(authority.into())));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 && place == Place::Connect {
            return Err(("port 0 cannot be connected to".into(), None));
        }
        return Ok(Address::Inet(address));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(without_brackets_or_port(text, ip));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(no_port(text));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err((format!("`{port}` is no port (0-65535)"), None));
    };
    if host.is_empty() || host == "*" {
        return Err((format!("`{text}` names no address"), Some(format!("0.0.0.0:{port}"))));
    }
    if host.contains(':') {
        let ip = host.parse::<IpAddr>().ok();
        return Err((format!("`{text}` is no address"), ip.map(|ip| format!("[{ip}]:{port}"))));
    }
    named(host, port, place)
}

/// `::1:80` reads as an address, but the last group is rather a port.
fn without_brackets_or_port(text: &str, ip: IpAddr) -> AddressError {
    let split = text.rsplit_once(':').filter(|(host, port)| {
        host.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match split {
        Some((host, port)) => (format!("`{text}` has no brackets"), Some(format!("[{host}]:{port}"))),
        None if ip.is_ipv6() => (format!("`{text}` has no port"), Some(format!("[{ip}]:80"))),
        None => (format!("`{text}` has no port"), Some(format!("{ip}:80"))),
    }
}

fn no_port(text: &str) -> AddressError {
    if text.parse::<u16>().is_ok() {
        return (format!("`{text}` is a port without an address"), Some(format!("127.0.0.1:{text}")));
    }
    (format!("`{text}` has no port"), host_name(text).then(|| format!("{text}:80")))
}

fn named(host: &str, port: u16, place: Place) -> Result<Address, AddressError> {
    if !host_name(host) {
        return Err((format!("`{host}` is neither an IP address nor a host name"), None));
    }
    if place == Place::Listen {
        let local = (host == "localhost").then(|| format!("127.0.0.1:{port}"));
        return Err((
            format!("`{host}` is a name; an IP address or `unix:/path` is needed to listen"),
            local,
        ));
    }
    if port == 0 {
        return Err(("port 0 cannot be connected to".into(), None));
    }
    Ok(Address::Dns(host.to_ascii_lowercase().into(), port))
}

fn unix(path: &str) -> Result<&str, AddressError> {
    if !path.starts_with('/') {
        return Err((format!("`{path}` is no absolute path"), None));
    }
    if path.len() > UNIX_PATH_MAX {
        return Err((
            format!("the path of a unix socket is at most {UNIX_PATH_MAX} bytes, not {}", path.len()),
            None,
        ));
    }
    if path.chars().any(char::is_control) || path.ends_with('/') {
        return Err((format!("`{}` is no path of a socket", path.escape_debug()), None));
    }
    Ok(path)
}

/// RFC 1123 section 2.1 with underscores, as they occur in service names; the last label is not all digits, so that a
/// mistyped IPv4 address is no name.
pub(crate) fn host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        inside
            && !label.is_empty()
            && label.len() <= HOST_LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or("");
    text.len() <= HOST_NAME_MAX
        && text.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text that [`address`] reads back.
pub(crate) fn show_address(address: &Address) -> String {
    match address {
        Address::Inet(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{path}"),
        Address::Dns(name, port) => format!("{name}:{port}"),
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address. Bits behind the prefix must be 0.
pub(crate) fn cidr(text: &str) -> Result<Cidr, AddressError> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (text, None),
    };
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Err((format!("`{text}` is no address range such as `10.0.0.0/8`"), None));
    };
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits.map(str::parse::<u8>) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return Err((format!("the prefix of `{text}` is not within 0-{width}"), None)),
    };
    let network = network(ip, bits);
    if network != ip {
        return Err((format!("`{text}` has bits behind its prefix"), Some(format!("{network}/{bits}"))));
    }
    Ok(Cidr { ip, bits })
}

/// The text that [`cidr`] reads back.
pub(crate) fn show_cidr(cidr: &Cidr) -> String {
    format!("{}/{}", cidr.ip, cidr.bits)
}

fn network(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_falling_units() {
        for (text, ms) in
            [("0s", 0), ("250ms", 250), ("15s", 15_000), ("1m30s", 90_000), ("1d2h3m4s5ms", 93_784_005)]
        {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for text in
            ["", "s", "15", "1s1m", "1s1s", "-1s", "1.5s", " 1s", "1 s", "1S", "99999999999999999999s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("213503982334d"), Ok(18_446_744_073_657_600_000));
        assert!(duration("213503982335d").is_err(), "beyond 64 bits");
    }

    #[test]
    fn sizes_know_both_kinds_of_thousand() {
        for (text, bytes) in
            [("0B", 0), ("1B", 1), ("60KiB", 61_440), ("1MB", 1_000_000), ("1MiB512KiB", 1_572_864)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "1", "1kb", "1K", "1KiB1MiB", "17179869184GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed() {
        let meant = |text: &str| duration(text).err().flatten();
        let meant_size = |text: &str| size(text).err().flatten();
        for (text, guess) in
            [("15", "15s"), ("15 S", "15s"), ("2 min", "2m"), ("0.5s", "500ms"), ("1.5h", "90m")]
        {
            assert_eq!(meant(text).as_deref(), Some(guess), "{text}");
        }
        for (text, guess) in
            [("10", "10B"), ("10k", "10KiB"), ("1gb", "1GB"), ("1.5MiB", "1536KiB"), ("2 m", "2MiB")]
        {
            assert_eq!(meant_size(text).as_deref(), Some(guess), "{text}");
        }
        for text in ["", "soon", "5 fortnights", "-1s", "0.0001ms"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for value in
            (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1]).chain([60_000, 86_400_000, 1_000_000])
        {
            assert_eq!(duration(&show_duration(value)), Ok(value), "{}", show_duration(value));
            assert_eq!(size(&show_size(value)), Ok(value), "{}", show_size(value));
        }
    }

    #[test]
    fn addresses_are_read_back() {
        let both = ["127.0.0.1:80", "[::1]:8080", "[fe80::1%2]:80", "unix:/run/a b.sock"];
        for text in both {
            for place in [Place::Listen, Place::Connect] {
                let read = address(text, place).map(|address| show_address(&address));
                assert_eq!(read.as_deref(), Ok(text));
            }
        }
        assert_eq!(address("Name.Example:80", Place::Connect), Ok(Address::Dns("name.example".into(), 80)));
        assert_eq!(address("a_b-c:80", Place::Connect), Ok(Address::Dns("a_b-c".into(), 80)));
        assert!(address("0.0.0.0:0", Place::Listen).is_ok() && address("0.0.0.0:0", Place::Connect).is_err());
        for text in [
            "", ":", ":80", "*:80", "a", "a:", "a:b", "a:0", "-a:80", "a..b:80", "1.2.3:80", "[::1]",
            "unix:", "unix:a", "unix:/",
        ] {
            assert!(address(text, Place::Connect).is_err(), "{text}");
        }
        let path = format!("unix:/{}", "x".repeat(UNIX_PATH_MAX));
        assert!(address(&path, Place::Listen).is_err());
        assert!(address(&path[..path.len() - 1], Place::Listen).is_ok());
    }

    #[test]
    fn ranges_have_no_bits_behind_their_prefix() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "::1/128"] {
            assert_eq!(cidr(text).map(|range| show_cidr(&range)).as_deref(), Ok(text));
        }
        assert_eq!(cidr("10.0.0.1").map(|range| range.bits), Ok(32));
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "fd01::/8",
        ] {
            assert!(cidr(text).is_err(), "{text}");
        }
    }
}
