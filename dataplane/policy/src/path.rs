//! The form of a path that routes are matched on, so that two spellings of one resource take one route.
//!
//! Matched form: percent-encoded unreserved characters decoded, what may not stand in a URI encoded, hex digits upper-case (RFC 3986
//! section 6.2.2), runs of `/` merged, dot segments removed (section 5.2.4). `%2F` stays as it is and is never a separator. What is forwarded is the path as received, except that
//! a path with dot segments is forwarded in matched form: no upstream gets to resolve them differently. Paths in which an upstream that
//! decodes `%2F`, `%5C` or `\`, or ignores `;` parameters, would find a dot segment are refused.

/// How a received path relates to what was matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// They are the same bytes.
    #[default]
    Same,
    /// They differ in spelling only; forward what was received.
    Equivalent,
    /// The received path had dot segments; forward the matched form.
    Resolved,
    /// The path reads as two different resources; answer 400.
    Refused,
}

/// Whether `path` may differ from its matched form: it holds `%`, `//`, `/.` or what may not stand in a URI. Rarely true for honest
/// clients. Without a branch per byte.
#[inline]
pub(crate) fn needs_normalising(path: &[u8]) -> bool {
    let mut found = 0;
    let mut wanted = CLASS_SPECIAL;
    for &byte in path {
        let class = CLASSES[usize::from(byte)];
        found |= class & wanted;
        // Behind a slash, slashes and dots count as well.
        wanted = class >> 1 | CLASS_SPECIAL;
    }
    found != 0
}

/// Whether a byte may not stand in a URI as it is (RFC 3986 section 2). `[` and `]` are let through, as all parsers do.
pub(crate) const fn is_unsafe(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

const CLASS_SPECIAL: u8 = 1;
const CLASS_DOT: u8 = 2;
/// Shifted right by one it has the bit of [`CLASS_DOT`].
const CLASS_SLASH: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => CLASS_SLASH | CLASS_DOT,
            b'.' => CLASS_DOT,
            b'%' => CLASS_SPECIAL,
            other if is_unsafe(other) => CLASS_SPECIAL,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Writes the matched form of `path`, which must begin with `/`, to `out` (cleared first).
pub(crate) fn normalise(path: &[u8], out: &mut Vec<u8>) -> Form {
    out.clear();
    let mut resolved = false;
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    loop {
        let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let (segment, behind) = rest.split_at(end);
        let last = behind.is_empty();
        let start = out.len();
        out.push(b'/');
        if !recode(segment, out) || hides_dot_segment(&out[start + 1..]) {
            return Form::Refused;
        }
        match &out[start + 1..] {
            b"" if !last => out.truncate(start),
            b"." => {
                resolved = true;
                out.truncate(if last { start + 1 } else { start });
            }
            b".." => {
                resolved = true;
                let parent = out[..start].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ => {}
        }
        if last {
            break;
        }
        rest = &behind[1..];
    }
    if resolved {
        Form::Resolved
    } else if out == path {
        Form::Same
    } else {
        Form::Equivalent
    }
}

/// Appends `segment` with unreserved characters decoded, unsafe ones encoded and hex digits in upper case; `false` if a `%` is not followed by
/// two hex digits.
fn recode(segment: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = segment;
    while let Some((&first, behind)) = rest.split_first() {
        let (byte, behind) = match first {
            b'%' => match decode_one(rest) {
                Some(decoded) => decoded,
                None => return false,
            },
            _ => (first, behind),
        };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || (first != b'%' && !is_unsafe(byte)) {
            out.push(byte);
        } else {
            push_encoded(byte, out);
        }
        rest = behind;
    }
    true
}

/// The byte that `%XX` at the start of `encoded` stands for, and what follows.
#[inline]
pub(crate) fn decode_one(encoded: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, behind @ ..] = encoded else { return None };
    let value = (char::from(*high).to_digit(16)? << 4) | char::from(*low).to_digit(16)?;
    Some((value as u8, behind))
}

/// Appends `%XX`.
pub(crate) fn push_encoded(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Whether a reader that takes `%2F`, `%5C` or `\` for a separator, or cuts `;` parameters off, sees a dot segment where there is none.
fn hides_dot_segment(segment: &[u8]) -> bool {
    if !segment.contains(&b'.') || !segment.iter().any(|byte| matches!(byte, b'%' | b';')) {
        return false;
    }
    let mut rest = segment;
    loop {
        let end = (0..rest.len()).find(|&at| separator_len(&rest[at..]) > 0).unwrap_or(rest.len());
        let piece = &rest[..end];
        let name = piece.split(|&byte| byte == b';').next().unwrap_or(piece);
        if matches!(name, b"." | b"..") && name.len() < segment.len() {
            return true;
        }
        if end == rest.len() {
            return false;
        }
        rest = &rest[end + separator_len(&rest[end..])..];
    }
}

/// Length of an encoded separator at the start of `bytes`, 0 if there is none.
fn separator_len(bytes: &[u8]) -> usize {
    match bytes {
        [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..] => 3,
        _ => 0,
    }
}

/// The matched form of a path from the configuration, which may be written unencoded (`/ü`).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn from_config(path: &str) -> Result<Vec<u8>, &'static str> {
    if !path.starts_with('/') {
        return Err("must begin with `/`");
    }
    if path.contains(['?', '#']) {
        return Err("must not hold `?` or `#`: a path ends before them");
    }
    if path.contains(char::is_control) {
        return Err("must not hold control characters");
    }
    let mut out = Vec::with_capacity(path.len());
    match normalise(path.as_bytes(), &mut out) {
        Form::Same | Form::Equivalent => Ok(out),
        Form::Resolved => Err("must not hold dot segments: no request reaches it"),
        Form::Refused => Err("has a wrong percent-encoding or a hidden dot segment: no request reaches it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> (Form, String) {
        let mut out = Vec::new();
        let form = normalise(path.as_bytes(), &mut out);
        (form, String::from_utf8(out).unwrap())
    }

    #[test]
    fn plain_paths_are_left_alone() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d",
            "/a;v=1/b",
            "/a/...",
            "/.well-known/x",
            "/a%2Fb",
            "/%C3%BC",
            "/a..b",
        ] {
            assert_eq!(normal(path), (Form::Same, path.to_owned()));
        }
        for path in ["/", "/a", "/a/b.c/d", "/a;v=1/b"] {
            assert!(!needs_normalising(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn equivalent_spellings() {
        for (path, expected) in [
            ("/%61bc", "/abc"),
            ("/%7euser", "/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("//a", "/a"),
            ("/a//b///c", "/a/b/c"),
            ("/a//", "/a/"),
            ("//", "/"),
            ("/{a|b}^`", "/%7Ba%7Cb%7D%5E%60"),
            ("/ü\\\"<>", "/%C3%BC%5C%22%3C%3E"),
        ] {
            assert_eq!(normal(path), (Form::Equivalent, expected.to_owned()), "{path}");
            assert!(needs_normalising(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_however_they_are_spelled() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/public//../admin", "/admin"),
            ("/a/b/../../../c", "/c"),
        ] {
            assert_eq!(normal(path), (Form::Resolved, expected.to_owned()), "{path}");
            assert!(needs_normalising(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "/a/..%2fadmin",
            "/a%2F..%2Fadmin",
            "/a/..%5cadmin",
            "/a/..\\admin",
            "/a/..;/admin",
            "/a/..;x=1/admin",
            "/a/.;/admin",
            "/a/%2e%2e;/admin",
            "/a/x%2f..",
            "/%",
            "/%4",
            "/%zz",
        ] {
            assert_eq!(normal(path).0, Form::Refused, "{path}");
            assert!(needs_normalising(path.as_bytes()), "{path}");
        }
        for path in ["/@scope%2fname", "/a%2Fb..c", "/a;b=../c", "/a/x;y"] {
            assert_ne!(normal(path).0, Form::Refused, "{path}");
        }
    }

    #[test]
    fn paths_of_the_configuration() {
        assert_eq!(from_config("/ü b").unwrap(), b"/%C3%BC%20b");
        assert_eq!(from_config("/%7ea//b").unwrap(), b"/~a/b");
        for path in ["", "a", "*", "/a?b", "/a#b", "/a/../b", "/a\n", "/%"] {
            assert!(from_config(path).is_err(), "{path:?}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/([a-b./%;{\\\\]|%2[eEfF]|%61|\\.\\.){0,12}") {
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            if normalise(path.as_bytes(), &mut once) != Form::Refused {
                prop_assert_eq!(normalise(&once, &mut twice), Form::Same, "{}", path);
                prop_assert_eq!(once, twice);
            }
        }

        #[test]
        fn the_fast_check_misses_nothing(path in "/([a-b./%;{\\\\]|%2[eEfF]|%61|\\.\\.){0,12}") {
            let mut out = Vec::new();
            if normalise(path.as_bytes(), &mut out) != Form::Same {
                prop_assert!(needs_normalising(path.as_bytes()), "{}", path);
            }
        }

        #[test]
        fn no_dot_segment_and_no_double_slash_is_left(path in "/([a-b./%;{\\\\]|%2[eEfF]|%61|\\.\\.){0,12}") {
            let mut out = Vec::new();
            if normalise(path.as_bytes(), &mut out) != Form::Refused {
                let text = String::from_utf8(out).unwrap();
                prop_assert!(text.starts_with('/') && !text.contains("//"), "{}", text);
                prop_assert!(!text.split('/').any(|segment| segment == "." || segment == ".."), "{}", text);
            }
        }
    }
}
