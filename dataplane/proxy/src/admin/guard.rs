//! Who may ask the admin API. It trusts everybody who can connect from this machine, so the one thing to keep out is a
//! browser on this machine that acts for a web page: by a name that resolves here (DNS rebinding), or by a cross-site request.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Method, StatusCode};

use super::{Caller, Role};

/// Refuses with a status and a reason.
pub(super) fn check(
    caller: &Caller,
    method: &Method,
    fields: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    // Telemetry shows nothing secret and changes nothing; a unix socket is out of a browser's reach.
    let (Role::Admin, Some(local)) = (caller.role, caller.local) else { return Ok(()) };
    let mut hosts = fields.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err((StatusCode::BAD_REQUEST, "one Host field is needed"));
    };
    if !host.to_str().is_ok_and(|host| is_local(host, local)) {
        let why = "the Host field must be localhost or the address of this listener, not a name";
        return Err((StatusCode::MISDIRECTED_REQUEST, why));
    }
    if !matches!(*method, Method::GET | Method::HEAD) && is_cross_site(fields, host.as_bytes()) {
        return Err((StatusCode::FORBIDDEN, "requests of other web pages are refused"));
    }
    Ok(())
}

/// Whether a Host value names this machine without the help of DNS.
fn is_local(host: &str, local: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.to_canonical() == local.ip().to_canonical())
}

/// Whether a browser says that another site's page made this request. Programs send neither field.
fn is_cross_site(fields: &HeaderMap, host: &[u8]) -> bool {
    let site = fields.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    fields.get(ORIGIN).is_some_and(|origin| origin.as_bytes().strip_prefix(b"http://") != Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn ask(method: &str, fields: &[(&'static str, &'static str)]) -> u16 {
        let caller = Caller { role: Role::Admin, local: Some(SocketAddr::from(([127, 0, 0, 1], 9901))) };
        ask_as(&caller, method, fields)
    }

    fn ask_as(caller: &Caller, method: &str, fields: &[(&'static str, &'static str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        check(caller, &method, &map).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_names_that_need_no_dns_are_accepted() {
        let local = [
            "localhost",
            "LOCALHOST:9901",
            "127.0.0.1:9901",
            "127.8.9.1",
            "[::1]:9901",
            "[::ffff:127.0.0.1]",
        ];
        for host in local {
            assert_eq!(ask("GET", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9901", "localhost.evil.example", "10.0.0.1", "127.0.0.1.", ":"]
        {
            assert_eq!(ask("GET", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(ask("GET", &[]), 400);
        assert_eq!(ask("GET", &[("host", "localhost"), ("host", "localhost")]), 400);
    }

    #[test]
    fn the_bound_address_itself_is_accepted() {
        let caller = Caller { role: Role::Admin, local: Some(SocketAddr::from(([10, 1, 2, 3], 9901))) };
        assert_eq!(ask_as(&caller, "GET", &[("host", "10.1.2.3:9901")]), 200);
        assert_eq!(ask_as(&caller, "GET", &[("host", "10.1.2.4:9901")]), 421);
    }

    #[test]
    fn changes_asked_for_by_other_web_pages_are_refused() {
        let host = ("host", "127.0.0.1:9901");
        assert_eq!(ask("POST", &[host]), 200);
        assert_eq!(
            ask("POST", &[host, ("origin", "http://127.0.0.1:9901"), ("sec-fetch-site", "same-origin")]),
            200
        );
        for field in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:3000"),
            ("origin", "https://127.0.0.1:9901"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(ask("POST", &[host, field]), 403, "{field:?}");
            assert_eq!(ask("GET", &[host, field]), 200, "{field:?}");
        }
    }

    #[test]
    fn unix_sockets_and_telemetry_take_any_host() {
        assert_eq!(
            ask_as(&Caller { role: Role::Admin, local: None }, "POST", &[("host", "any.example")]),
            200
        );
        let local = Some(SocketAddr::from(([10, 0, 0, 1], 9902)));
        assert_eq!(ask_as(&Caller { role: Role::Telemetry, local }, "GET", &[("host", "pod.example")]), 200);
    }
}
