//! Direct responses, rendered once.

use std::sync::Arc;

use ringway_wire::h1::write::{LocalReply, local_reply};
use ringway_wire::http::FieldName;

use crate::fields::Edits;
use crate::spec;

/// A response that needs nothing but sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The body, for encodings that frame it otherwise; empty for 204, 205 and 304.
    pub body: Arc<str>,
    /// Whole HTTP/1 messages: the connection stays, the connection closes.
    replies: [Box<[u8]>; 2],
    /// Lengths of their heads.
    heads: [usize; 2],
}

impl Respond {
    /// Renders `respond` with the edits of its route applied.
    pub(crate) fn new(respond: &spec::Respond, edits: &Edits) -> Respond {
        let own_type = edits.drops(FieldName::ContentType, b"content-type");
        let content_type = respond.content_type.as_deref().unwrap_or(CONTENT_TYPE_DEFAULT);
        let reply = |close| LocalReply {
            status: respond.status,
            content_type: if own_type || respond.body.is_empty() { "" } else { content_type },
            body: respond.body.as_bytes(),
            fields: edits.lines(),
            close,
            head_only: false,
        };
        let replies = [false, true].map(|close| {
            let mut bytes = Vec::new();
            local_reply(&mut bytes, &reply(close));
            bytes.into_boxed_slice()
        });
        let heads = [false, true].map(|close| {
            let mut bytes = Vec::new();
            local_reply(&mut bytes, &LocalReply { head_only: true, ..reply(close) });
            bytes.len()
        });
        Respond { status: respond.status, body: respond.body.clone(), replies, heads }
    }

    /// The message to send. `close`: the connection ends behind it; `head_only`: the request was HEAD.
    #[inline]
    pub fn message(&self, close: bool, head_only: bool) -> &[u8] {
        let which = usize::from(close);
        let reply = &self.replies[which];
        if head_only { &reply[..self.heads[which]] } else { reply }
    }
}

/// Whether a response of that status may have content (RFC 9110 sections 15.3.5, 15.3.6, 15.4.5).
pub(crate) fn may_have_body(status: u16) -> bool {
    !matches!(status, 204 | 205 | 304)
}

const CONTENT_TYPE_DEFAULT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn all_four_forms() {
        let spec = spec::Respond { status: 200, body: "hello".into(), content_type: None };
        let respond = Respond::new(&spec, &Edits::default());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n";
        assert_eq!(text(respond.message(false, false)), format!("{head}\r\nhello"));
        assert_eq!(text(respond.message(false, true)), format!("{head}\r\n"));
        assert_eq!(text(respond.message(true, false)), format!("{head}connection: close\r\n\r\nhello"));
        assert_eq!(text(respond.message(true, true)), format!("{head}connection: close\r\n\r\n"));
    }

    #[test]
    fn edits_of_the_route_apply() {
        let spec = spec::Respond { status: 503, body: "{}".into(), content_type: None };
        let edits = spec::FieldEdits {
            set: vec![("content-type".into(), "application/json".into())],
            add: vec![("retry-after".into(), "5".into())],
            remove: Vec::new(),
        };
        let respond = Respond::new(&spec, &Edits::new(&edits));
        assert_eq!(
            text(respond.message(false, false)),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
             content-length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn no_content_has_no_length() {
        let spec = spec::Respond { status: 204, body: "".into(), content_type: None };
        let respond = Respond::new(&spec, &Edits::default());
        assert_eq!(text(respond.message(false, false)), "HTTP/1.1 204 No Content\r\n\r\n");
    }
}
