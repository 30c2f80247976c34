//! Rules of texts: what a name, a host pattern, a path or a field may be, by the RFC that says so.

use std::sync::Arc;

use crate::nearest::nearest;
use crate::tree::shorten;
use crate::units::host_name;

/// Why a text is refused: message and suggestion.
pub(crate) type Refusal = (String, Option<String>);

/// A kind of text.
pub(crate) struct Rule {
    /// With article, for messages and documentation.
    pub(crate) what: &'static str,
    /// For the JSON Schema, where a regular expression can say it (it may say less than `check`).
    pub(crate) pattern: Option<&'static str>,
    /// All there are, where they are few.
    pub(crate) names: Option<fn() -> Vec<&'static str>>,
    /// The text in its canonical form, or why it is none.
    pub(crate) check: fn(&str) -> Result<Arc<str>, Refusal>,
}

const TOKEN_PATTERN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
const NAME_BYTES_MAX: usize = 256;

pub(crate) const NAME: Rule = Rule {
    what: "a name",
    pattern: Some("^.{1,256}$"),
    names: None,
    check: |text| name(text).map(|()| text.into()),
};

pub(crate) const ANY: Rule = Rule { what: "text", pattern: None, names: None, check: |text| Ok(text.into()) };

pub(crate) const NOT_EMPTY: Rule = Rule {
    what: "text",
    pattern: Some("^(.|\\n)+$"),
    names: None,
    check: |text| if text.is_empty() { Err(("the text is empty".into(), None)) } else { Ok(text.into()) },
};

/// RFC 9110 section 9.1: case-sensitive.
pub(crate) const METHOD: Rule =
    Rule { what: "a method", pattern: Some(TOKEN_PATTERN), names: None, check: method };

/// RFC 9110 section 5.1; matched without regard to case, so kept in lower case.
pub(crate) const FIELD_NAME: Rule = Rule {
    what: "a field name",
    pattern: Some(TOKEN_PATTERN),
    names: None,
    check: |text| field_name(text).map(|()| text.to_ascii_lowercase().into()),
};

/// A field that an edit may name.
pub(crate) const EDITED_FIELD: Rule = Rule {
    what: "a field name",
    pattern: Some(TOKEN_PATTERN),
    names: None,
    check: |text| edited_field(text).map(|()| text.to_ascii_lowercase().into()),
};

/// RFC 9110 section 5.5, without surrounding whitespace.
pub(crate) const FIELD_VALUE: Rule =
    Rule { what: "a field value", pattern: Some("^[^\\r\\n\\u0000]*$"), names: None, check: field_value };

/// RFC 9110 section 7.6.3: a pseudonym is a token; ports and host names are allowed as well.
pub(crate) const VIA: Rule = Rule {
    what: "a pseudonym or a host name",
    pattern: Some("^[!#$%&'*+.^_`|~0-9A-Za-z:\\[\\]-]+$"),
    names: None,
    check: |text| {
        let fits = |byte: u8| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        if !text.is_empty() && text.bytes().all(fits) {
            return Ok(text.into());
        }
        Err((format!("`{}` is no pseudonym (letters, digits and `-._`)", shorten(text)), None))
    },
};

/// A protocol name of an Upgrade (RFC 9110 section 7.8), compared in lower case.
pub(crate) const UPGRADE: Rule = Rule {
    what: "a protocol name such as `websocket`",
    pattern: Some("^[!#$%&'*+.^_`|~0-9A-Za-z/-]+$"),
    names: None,
    check: |text| {
        if !text.is_empty() && text.bytes().all(|byte| is_token(byte) || byte == b'/') {
            return Ok(text.to_ascii_lowercase().into());
        }
        Err((format!("`{}` is no protocol name", shorten(text)), None))
    },
};

/// `*`, a host or `*.` and a host.
pub(crate) const HOST_PATTERN: Rule = Rule {
    what: "a host pattern such as `example.com` or `*.example.com`",
    pattern: Some("^[^/:\\s]+$|^\\[[0-9a-fA-F:.]+\\]$"),
    names: None,
    check: host_pattern,
};

/// A server name: like a host pattern, without `*` alone.
pub(crate) const SERVER_NAME: Rule = Rule {
    what: "a server name such as `example.com` or `*.example.com`",
    pattern: Some("^[^/:\\s]+$"),
    names: None,
    check: |text| match host_pattern(text)? {
        any if &*any == "*" => Err(("`*` is what the listener's own `cluster` is for".into(), None)),
        host if host.starts_with('[') => {
            Err(("addresses are no server names (RFC 6066 section 3)".into(), None))
        }
        host => Ok(host),
    },
};

/// A host to put into a request or a redirect, perhaps with a port.
pub(crate) const AUTHORITY: Rule = Rule {
    what: "a host such as `example.com`",
    pattern: Some("^[^/\\s]+$"),
    names: None,
    check: |text| {
        let host = text
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(text, |(host, _)| host);
        if is_host(host) { Ok(text.into()) } else { Err((format!("`{}` is no host", shorten(text)), None)) }
    },
};

/// An absolute path (RFC 9110 section 4.1), without query.
pub(crate) const PATH: Rule =
    Rule { what: "a path such as `/api`", pattern: Some("^/[^?#\\s]*$"), names: None, check: path };

/// The path of a file.
pub(crate) const FILE: Rule = Rule {
    what: "an absolute path",
    pattern: Some("^/.+$"),
    names: None,
    check: |text| {
        if text.starts_with('/') && text.len() > 1 && !text.ends_with('/') && !text.contains('\0') {
            return Ok(text.into());
        }
        let meant = nearest(text, ["stdout"]).map(str::to_owned);
        Err((format!("`{}` is no absolute path of a file", shorten(text)), meant))
    },
};

pub(crate) const SCHEME: Rule = Rule {
    what: "`http` or `https`",
    pattern: Some("^https?$"),
    names: None,
    check: |text| match text {
        "http" | "https" => Ok(text.into()),
        _ => {
            let near = nearest(text, ["http", "https"]).map(str::to_owned);
            Err((format!("expected `http` or `https`, found the text `{}`", shorten(text)), near))
        }
    },
};

/// Names of listeners, routes and clusters: they stand in logs and metrics.
pub(crate) fn name(text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(("the name is empty".into(), None));
    }
    if text.chars().any(char::is_control) {
        return Err((format!("the name `{}` has a control character", shorten(text)), None));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err((
            format!("the name is {} bytes long, at most {NAME_BYTES_MAX} are allowed", text.len()),
            None,
        ));
    }
    Ok(())
}

fn method(text: &str) -> Result<Arc<str>, Refusal> {
    const COMMON: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err((format!("`{}` is no method", shorten(text)), None));
    }
    match COMMON.iter().find(|common| common.eq_ignore_ascii_case(text)) {
        Some(common) if *common != text => {
            Err((format!("`{text}` is no method: methods are case-sensitive"), Some((*common).into())))
        }
        _ => Ok(text.into()),
    }
}

fn field_name(text: &str) -> Result<(), Refusal> {
    if !text.is_empty() && text.bytes().all(is_token) {
        return Ok(());
    }
    let stripped = text.trim_end_matches(':');
    let near = (stripped != text && stripped.bytes().all(is_token)).then(|| stripped.to_owned());
    Err((format!("`{}` is no field name", shorten(text)), near))
}

/// Fields that frame the message or belong to the connection are the proxy's own (RFC 9110 section 7.6.1).
pub(crate) fn edited_field(text: &str) -> Result<(), Refusal> {
    const OWN: &[&str] = &[
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    field_name(text)?;
    if text.eq_ignore_ascii_case("host") {
        return Err((format!("`{text}` is set by `rewrite: {{host: ...}}`"), None));
    }
    if OWN.iter().any(|own| own.eq_ignore_ascii_case(text)) {
        return Err((
            format!("`{text}` frames the message or belongs to the connection and cannot be edited"),
            None,
        ));
    }
    Ok(())
}

fn field_value(text: &str) -> Result<Arc<str>, Refusal> {
    let text = text.trim_end_matches('\n');
    if text.chars().any(|character| character.is_control() && character != '\t') {
        return Err((format!("the field value `{}` has a control character", shorten(text)), None));
    }
    let trimmed = text.trim_matches([' ', '\t']);
    if trimmed != text {
        return Err((
            format!("the field value `{}` has whitespace around it", shorten(text)),
            Some(trimmed.into()),
        ));
    }
    Ok(text.into())
}

fn host_pattern(text: &str) -> Result<Arc<str>, Refusal> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" || is_host(lower.strip_prefix("*.").unwrap_or(&lower)) {
        return Ok(lower.into());
    }
    let without_scheme = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let bare = without_scheme.split(['/', '?']).next().unwrap_or("");
    let bare =
        bare.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(bare, |(host, _)| host);
    let meant = (bare != lower && is_host(bare)).then(|| bare.to_owned());
    let why = if lower.contains('*') { "; `*` stands alone or as `*.` in front" } else { "" };
    Err((format!("`{}` is no host pattern{why}", shorten(text)), meant))
}

/// A host without port: a name, an IPv4 address, or an IPv6 address in brackets (RFC 3986 section 3.2.2).
fn is_host(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host_name(text) || text.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

fn path(text: &str) -> Result<Arc<str>, Refusal> {
    if !text.starts_with('/') {
        let meant = (!text.contains("://")).then(|| format!("/{text}"));
        return Err((format!("`{}` does not start with `/`", shorten(text)), meant));
    }
    if let Some(at) = text.find(['?', '#']) {
        let message = format!("`{}` is no path: `?` and `#` end one", shorten(text));
        return Err((message, Some(text[..at].to_owned())));
    }
    if text.chars().any(|character| character.is_control() || character == ' ') {
        return Err((format!("`{}` has a space or a control character", shorten(text)), None));
    }
    Ok(text.into())
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
