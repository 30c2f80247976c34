//! The access log of one worker: lines into a block, full or old blocks to the writer. Nothing here does I/O, and a writer that is
//! behind costs lines (counted), never time.

use std::fmt::Write as _;
use std::ops::Range;

use ringway_driver::Micros;
use ringway_policy::spec::{self, LogFormat};
use ringway_wire::http::{FieldName, RequestHead};

use crate::flags::Flags;
use crate::reply::civil;
use crate::shared::Shared;

/// A block of this size goes to the writer.
const BLOCK_BYTES: usize = 32 << 10;
/// A block this old goes to the writer, however small. Microseconds.
const BLOCK_AGE_US: Micros = 100_000;
/// Longest text kept of one request field.
const TEXT_MAX: usize = 2_048;
/// Texts kept for reuse.
const SPARE_MAX: usize = 1_024;

/// What of a request head the log line needs, in one reused text.
#[derive(Default)]
pub(crate) struct LogFields {
    text: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    host: Range<usize>,
    agent: Range<usize>,
    id: Range<usize>,
}

impl LogFields {
    pub(crate) fn set_request_id(&mut self, id: &[u8]) {
        self.id = push(&mut self.text, id);
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or(&[])
    }
}

fn push(text: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let start = text.len();
    text.extend_from_slice(&bytes[..bytes.len().min(TEXT_MAX)]);
    start..text.len()
}

/// One line.
pub(crate) struct Record<'a> {
    pub(crate) fields: &'a LogFields,
    /// `HTTP/1.1`, `TCP`, ...
    pub(crate) protocol: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) route: &'a str,
    pub(crate) cluster: &'a str,
    pub(crate) client: Option<&'a dyn std::fmt::Display>,
    pub(crate) upstream: Option<&'a dyn std::fmt::Display>,
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) reason: &'a str,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) attempts: u32,
    /// Wall clock at the end, microseconds since the Unix epoch.
    pub(crate) unix_us: u64,
    pub(crate) duration_us: u64,
}

/// The log of one worker.
#[derive(Default)]
pub(crate) struct AccessLog {
    format: Option<LogFormat>,
    block: Vec<u8>,
    lines: u64,
    since: Micros,
    now: Micros,
    line: String,
    spare: Vec<Vec<u8>>,
}

impl AccessLog {
    pub(crate) fn set(&mut self, config: Option<&spec::AccessLog>, shared: &Shared) {
        self.format = config.filter(|_| shared.log_is_enabled()).map(|c| c.format);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.format.is_some()
    }

    /// Takes what the line will need from a head.
    pub(crate) fn fields(&mut self, bytes: &[u8], head: &RequestHead) -> LogFields {
        let mut text = self.spare.pop().unwrap_or_default();
        text.clear();
        let method = push(&mut text, head.method_span.of(bytes));
        let target = push(&mut text, head.target.raw.of(bytes));
        let host = push(&mut text, head.host.of(bytes));
        let agent = push(&mut text, head.fields.get(bytes, FieldName::UserAgent).unwrap_or(&[]));
        LogFields { text, method, target, host, agent, id: 0..0 }
    }

    /// Gives the storage of a line that was written back.
    pub(crate) fn recycle(&mut self, fields: LogFields) {
        if fields.text.capacity() > 0 && self.spare.len() < SPARE_MAX {
            self.spare.push(fields.text);
        }
    }

    /// When the block must go to the writer at the latest.
    pub(crate) fn flush_at(&self) -> Micros {
        if self.block.is_empty() { Micros::MAX } else { self.since + BLOCK_AGE_US }
    }

    pub(crate) fn end_turn(&mut self, now: Micros, shared: &Shared) {
        self.now = now;
        if self.block.len() >= BLOCK_BYTES || now >= self.flush_at() {
            self.flush(shared);
        }
    }

    /// Hands the block to the writer, or drops it when the writer is behind.
    pub(crate) fn flush(&mut self, shared: &Shared) {
        if self.block.is_empty() {
            return;
        }
        let fresh = shared.empty_log_block().unwrap_or_default();
        let full = std::mem::replace(&mut self.block, fresh);
        let lines = std::mem::take(&mut self.lines);
        match shared.push_log_block(full) {
            Ok(()) => shared.stats.worker.log_lines_total.add(lines),
            Err(mut refused) => {
                refused.clear();
                self.block = refused;
                shared.stats.worker.log_lines_dropped_total.add(lines);
            }
        }
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, record: &Record<'_>, shared: &Shared) {
        let Some(format) = self.format else { return };
        if self.block.is_empty() {
            self.since = self.now;
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        // Writing to a string does not fail.
        let _ = match format {
            LogFormat::Text => write_text(&mut line, record),
            LogFormat::Json => write_json(&mut line, record),
        };
        line.push('\n');
        self.block.extend_from_slice(line.as_bytes());
        self.line = line;
        self.lines += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.flush(shared);
        }
    }
}

/// `[time] "METHOD target PROTOCOL" status flags reason received sent duration_us "agent" "id" "host" "upstream" client cluster route attempts`
fn write_text(out: &mut String, r: &Record<'_>) -> std::fmt::Result {
    out.push('[');
    write_time(out, r.unix_us)?;
    out.push_str("] \"");
    for (range, end) in [(&r.fields.method, " "), (&r.fields.target, " ")] {
        escape(out, r.fields.part(range))?;
        out.push_str(end);
    }
    write!(out, "{}\" {} ", r.protocol, r.status)?;
    write_flags(out, r.flags, '-');
    write!(out, " {} {} {} {} \"", or_dash(r.reason), r.bytes_received, r.bytes_sent, r.duration_us)?;
    for range in [&r.fields.agent, &r.fields.id, &r.fields.host] {
        match r.fields.part(range) {
            b"" => out.push('-'),
            bytes => escape(out, bytes)?,
        }
        out.push_str("\" \"");
    }
    match r.upstream {
        Some(upstream) => write!(out, "{upstream}\" ")?,
        None => out.push_str("-\" "),
    }
    match r.client {
        Some(client) => write!(out, "{client}")?,
        None => out.push('-'),
    }
    write!(out, " {} {} {} {}", or_dash(r.listener), or_dash(r.cluster), or_dash(r.route), r.attempts)
}

fn write_json(out: &mut String, r: &Record<'_>) -> std::fmt::Result {
    out.push_str("{\"time\":\"");
    write_time(out, r.unix_us)?;
    out.push('"');
    let texts = [
        ("method", r.fields.part(&r.fields.method)),
        ("target", r.fields.part(&r.fields.target)),
        ("protocol", r.protocol.as_bytes()),
        ("host", r.fields.part(&r.fields.host)),
        ("user_agent", r.fields.part(&r.fields.agent)),
        ("request_id", r.fields.part(&r.fields.id)),
        ("listener", r.listener.as_bytes()),
        ("route", r.route.as_bytes()),
        ("cluster", r.cluster.as_bytes()),
        ("reason", r.reason.as_bytes()),
    ];
    for (name, value) in texts {
        write!(out, ",\"{name}\":\"")?;
        escape(out, value)?;
        out.push('"');
    }
    for (name, value) in [("client", r.client), ("upstream", r.upstream)] {
        match value {
            Some(value) => write!(out, ",\"{name}\":\"{value}\"")?,
            None => write!(out, ",\"{name}\":null")?,
        }
    }
    out.push_str(",\"flags\":\"");
    write_flags(out, r.flags, ' ');
    write!(
        out,
        "\",\"status\":{},\"bytes_received\":{},\"bytes_sent\":{},\"duration_us\":{},\"attempts\":{}}}",
        r.status, r.bytes_received, r.bytes_sent, r.duration_us, r.attempts
    )
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn write_flags(out: &mut String, flags: Flags, none: char) {
    let mut first = true;
    for flag in flags.iter() {
        if !first {
            out.push(',');
        }
        out.push_str(flag.letters());
        first = false;
    }
    if first && none != ' ' {
        out.push(none);
    }
}

/// RFC 3339 with milliseconds.
fn write_time(out: &mut String, unix_us: u64) -> std::fmt::Result {
    let second = unix_us / 1_000_000;
    let (year, month, day) = civil(second / 86_400);
    let (hour, minute, sec) = (second / 3_600 % 24, second / 60 % 60, second % 60);
    let ms = unix_us / 1_000 % 1_000;
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{sec:02}.{ms:03}Z")
}

/// So that no client can forge a line or break JSON: quotes, backslashes, controls and bytes beyond ASCII as `\u00XX`.
fn escape(out: &mut String, bytes: &[u8]) -> std::fmt::Result {
    for byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => write!(out, "\\u{byte:04x}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flag;

    fn record<'a>(fields: &'a LogFields, client: &'a dyn std::fmt::Display) -> Record<'a> {
        let mut flags = Flags::default();
        flags.set(Flag::UpstreamConnectionFailure);
        flags.set(Flag::UpstreamRetryLimitExceeded);
        Record {
            fields,
            protocol: "HTTP/1.1",
            listener: "web",
            route: "",
            cluster: "app",
            client: Some(client),
            upstream: None,
            status: 503,
            flags,
            reason: "connect_refused",
            bytes_received: 1,
            bytes_sent: 2,
            attempts: 2,
            unix_us: 784_111_777_123_456,
            duration_us: 42,
        }
    }

    fn fields() -> LogFields {
        let mut text = Vec::new();
        let method = push(&mut text, b"GET");
        let target = push(&mut text, b"/a\"b\n");
        LogFields { method, target, host: 0..0, agent: 0..0, id: 0..0, text }
    }

    #[test]
    fn text_lines_cannot_be_forged() {
        let mut out = String::new();
        write_text(&mut out, &record(&fields(), &"10.0.0.1:5")).expect("writes");
        assert_eq!(
            out,
            "[1994-11-06T08:49:37.123Z] \"GET /a\\\"b\\u000a HTTP/1.1\" 503 UF,URX connect_refused 1 2 42 \
             \"-\" \"-\" \"-\" \"-\" 10.0.0.1:5 web app - 2"
        );
    }

    #[test]
    fn json_lines_are_objects() {
        let mut out = String::new();
        write_json(&mut out, &record(&fields(), &"10.0.0.1:5")).expect("writes");
        assert!(out.starts_with(
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"method\":\"GET\",\"target\":\"/a\\\"b\\u000a\""
        ));
        assert!(out.ends_with("\"flags\":\"UF,URX\",\"status\":503,\"bytes_received\":1,\"bytes_sent\":2,\"duration_us\":42,\"attempts\":2}"));
    }

    #[test]
    fn lines_are_dropped_and_counted_when_the_writer_is_behind() {
        let shared = Shared::default();
        shared.enable_log(ringway_driver::Waker::new(|| {}));
        let mut log = AccessLog::default();
        log.set(Some(&spec::AccessLog { path: None, format: LogFormat::Text }), &shared);
        for _ in 0..crate::shared::LOG_BLOCKS_MAX + 3 {
            log.write(&record(&fields(), &"c"), &shared);
            log.flush(&shared);
        }
        assert_eq!(shared.stats.worker.log_lines_total.value(), crate::shared::LOG_BLOCKS_MAX as u64);
        assert_eq!(shared.stats.worker.log_lines_dropped_total.value(), 3);
    }
}
