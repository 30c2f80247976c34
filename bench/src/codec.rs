//! The HTTP/1.1 codec at work: messages as they come, parsed and written on.

use ringway_wire::h1::{self, Body, BodyEvent, Limits, Relaxations, Status, write};
use ringway_wire::http::{Field, FieldName, Method, RequestHead, ResponseHead};

/// What `curl` sends.
pub const REQUEST_SMALL: &[u8] =
    b"GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

/// What a browser sends to an application: 15 fields, a cookie, a query.
pub const REQUEST_BROWSER: &[u8] = b"GET /api/v1/items/42?page=2&sort=price HTTP/1.1\r\n\
Host: shop.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://shop.example.org/api/v1/items?page=1\r\n\
DNT: 1\r\n\
Connection: keep-alive\r\n\
Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=all; cart=c9f0f895fb98ab9159f51fd0297e236d\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\
Sec-Fetch-User: ?1\r\n\
Priority: u=0, i\r\n\
\r\n";

/// What an application server answers.
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx/1.22.1\r\n\
Date: Fri, 14 Feb 2025 09:15:27 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 1024\r\n\
Connection: keep-alive\r\n\
Cache-Control: private, max-age=0\r\n\
ETag: \"5e8c1f3a-400\"\r\n\
Vary: Accept-Encoding\r\n\
\r\n";

/// Data bytes of [`chunked_body`].
pub const CHUNKED_DATA_BYTES: usize = 16 * 1024;

/// 16 chunks of 1 KiB, and the last chunk.
pub fn chunked_body() -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..CHUNKED_DATA_BYTES / 1024 {
        body.extend_from_slice(write::chunk_prefix(1024).as_bytes());
        body.extend_from_slice(&[b'x'; 1024]);
        body.extend_from_slice(write::chunk_suffix());
    }
    write::last_chunk(&mut body, b"");
    body
}

/// The storage one worker reuses for every message.
#[derive(Default)]
pub struct Codec {
    limits: Limits,
    request: RequestHead,
    response: ResponseHead,
    out: Vec<u8>,
}

impl Codec {
    /// With room for what the messages of this module need.
    pub fn new() -> Self {
        Self {
            limits: Limits::DEFAULT,
            request: RequestHead::new(),
            response: ResponseHead::new(),
            out: Vec::with_capacity(4096),
        }
    }

    /// Parses and validates a request head. The number of its field lines.
    #[inline(never)]
    pub fn parse_request(&mut self, bytes: &[u8]) -> usize {
        let parsed = h1::parse_request(bytes, &mut 0, &self.limits, Relaxations::NONE, &mut self.request);
        assert_eq!(parsed, Ok(Status::Complete(bytes.len())));
        self.request.fields.len()
    }

    /// Parses and validates a response head. The number of its field lines.
    #[inline(never)]
    pub fn parse_response(&mut self, bytes: &[u8]) -> usize {
        let head = &mut self.response;
        let parsed = h1::parse_response(bytes, &mut 0, &self.limits, Relaxations::NONE, Method::Get, head);
        assert_eq!(parsed, Ok(Status::Complete(bytes.len())));
        self.response.fields.len()
    }

    /// Writes the request parsed last as a proxy sends it on: hop-by-hop fields dropped, one field replaced, two added.
    /// Bytes written.
    #[inline(never)]
    pub fn serialise_request(&mut self, bytes: &[u8]) -> usize {
        self.out.clear();
        write::request_line_of(&mut self.out, bytes, &self.request);
        let is_replaced = |field: &Field| field.id == FieldName::XForwardedFor;
        write::fields_kept(&mut self.out, bytes, &self.request.fields, is_replaced);
        write::field(&mut self.out, b"x-forwarded-for", b"192.0.2.17");
        write::field(&mut self.out, b"x-forwarded-proto", b"http");
        write::end_of_head(&mut self.out);
        self.out.len()
    }

    /// Writes the response parsed last as a proxy hands it back. Bytes written.
    #[inline(never)]
    pub fn serialise_response(&mut self, bytes: &[u8]) -> usize {
        self.out.clear();
        write::status_line(&mut self.out, self.response.status, self.response.reason.of(bytes));
        write::fields_kept(&mut self.out, bytes, &self.response.fields, |_| false);
        write::end_of_head(&mut self.out);
        self.out.len()
    }

    /// Takes a chunked body apart. Bytes of data found.
    #[inline(never)]
    pub fn decode_chunked(&mut self, bytes: &[u8]) -> usize {
        let mut body = Body::from_framing(ringway_wire::http::Framing::Chunked, &self.limits);
        let (mut at, mut data) = (0, 0);
        loop {
            match body.decode(&bytes[at..]) {
                Ok(BodyEvent::Data { start, end }) => {
                    data += end - start;
                    at += end;
                }
                Ok(BodyEvent::End { .. }) => return data,
                other => panic!("not a whole chunked body: {other:?}"),
            }
        }
    }
}
