//! Answers made here: refusals, failures, redirects and direct responses.

use ringway_driver::{Close, Driver, Last};
use ringway_policy::route::{MatchScratch, Request};
use ringway_policy::snapshot::{Action, Route};
use ringway_wire::h1::write::{self, LocalReply, reason_phrase};
use ringway_wire::http::{FieldName, Method};

use crate::exchange::Answer;
use crate::flags::Flag;
use crate::request::slice_of;
use crate::slab::Key;
use crate::worker::Worker;

/// Methods a listener takes without further options.
const ALLOWED: &[u8] = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

/// What refusals, failures and redirects say in words.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// An answer of our own.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    /// A stable snake_case word: in the access log, and in the body of refusals and failures.
    pub(crate) reason: &'static str,
    /// The connection ends behind it.
    close: bool,
    content: Content,
}

enum Content {
    /// Status and reason as text.
    Reason,
    Redirect(Vec<u8>),
    /// The route holds the whole message.
    Rendered,
}

impl Reply {
    /// The connection can go on.
    pub(crate) fn plain(status: u16, flag: Flag, reason: &'static str) -> Reply {
        Reply { status, flag, reason, close: false, content: Content::Reason }
    }

    /// The connection ends: what follows on it cannot be trusted or is not wanted.
    pub(crate) fn refuse(status: u16, flag: Flag, reason: &'static str) -> Reply {
        Reply { status, flag, reason, close: true, content: Content::Reason }
    }

    /// What a route that answers by itself says.
    pub(crate) fn of_route(route: &Route, request: &Request<'_>, matching: &MatchScratch) -> Reply {
        let (status, reason, content) = match &route.action {
            Action::Redirect(redirect) => {
                let mut location = Vec::new();
                redirect.write_location(request, matching, "http", &mut location);
                (redirect.status, "redirect", Content::Redirect(location))
            }
            Action::Respond(respond) => (respond.status, "direct_response", Content::Rendered),
            Action::Cluster(_) | Action::Split(_) => unreachable!("asked for routes that answer only"),
        };
        Reply { status, flag: Flag::DirectResponse, reason, close: false, content }
    }
}

impl<D: Driver> Worker<D> {
    /// Answers an exchange that has no attempt in progress and no answer yet.
    pub(crate) fn local_reply(&mut self, key: Key, xkey: Key, reply: &Reply) {
        let leaving = self.leaving(key);
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        debug_assert!(exchange.attempt.is_none() && exchange.response.answer == Answer::Awaited);
        exchange.keep_alive &= !reply.close && !leaving && exchange.request.done;
        exchange.flags.set(reply.flag);
        exchange.reason = reply.reason;
        exchange.response.status = reply.status;
        exchange.response.answer = Answer::Done;
        exchange.request.pending = [None, None];
        exchange.request.replay = [None, None];
        let live = exchange.live.clone();
        let route = exchange.route.map(|r| live.route(exchange.listener, r));
        let (keep_alive, head_only) = (exchange.keep_alive, exchange.request.method == Method::Head);
        let http10 = exchange.request.version == ringway_wire::http::Version::Http10;
        self.reply_out.clear();
        match (&reply.content, route.map(|r| &r.action)) {
            (Content::Rendered, Some(Action::Respond(respond))) => {
                // All but what depends on the moment and the client is rendered; that goes behind the status line.
                let message = respond.message(!keep_alive, head_only);
                let line = message.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let (start, rest) = message.split_at(line);
                self.reply_out.extend_from_slice(start);
                if !route.is_some_and(|r| r.response_edits.drops(FieldName::Date, b"date")) {
                    write::field(&mut self.reply_out, b"date", self.date.text(self.driver.unix_now()));
                }
                if keep_alive && http10 {
                    write::field(&mut self.reply_out, b"connection", b"keep-alive");
                }
                self.reply_out.extend_from_slice(rest);
            }
            (content, _) => {
                let location =
                    if let Content::Redirect(location) = content { Some(&location[..]) } else { None };
                // Only a route's own answer is edited; what a refusal says is ours.
                let edits = route.filter(|_| location.is_some()).map(|r| &r.response_edits);
                let drops = |id, name: &[u8]| edits.is_some_and(|e| e.drops(id, name));
                self.reply_fields.clear();
                if !drops(FieldName::Date, b"date") {
                    write::field(&mut self.reply_fields, b"date", self.date.text(self.driver.unix_now()));
                }
                if let (Some(location), Some(route)) = (location, route) {
                    write::field(&mut self.reply_fields, b"location", location);
                    self.reply_fields.extend_from_slice(route.response_edits.lines());
                }
                if reply.status == 405 {
                    write::field(&mut self.reply_fields, b"allow", ALLOWED);
                }
                if keep_alive && http10 {
                    write::field(&mut self.reply_fields, b"connection", b"keep-alive");
                }
                let text = format!("{} {}: {}\n", reply.status, reason_phrase(reply.status), reply.reason);
                let local = LocalReply {
                    status: reply.status,
                    content_type: if drops(FieldName::ContentType, b"content-type") {
                        ""
                    } else {
                        PLAIN_TEXT
                    },
                    body: text.as_bytes(),
                    fields: &self.reply_fields,
                    close: !keep_alive,
                    head_only,
                };
                write::local_reply(&mut self.reply_out, &local);
            }
        }
        self.send_reply(key, xkey, keep_alive);
    }

    fn send_reply(&mut self, key: Key, xkey: Key, keep_alive: bool) {
        self.shared.stats.worker.local_replies_total.add(1);
        if let Some(exchange) = self.exchanges.get_mut(xkey) {
            exchange.response.bytes = self.reply_out.len() as u64;
        }
        let last = if keep_alive { Last::End } else { Last::More };
        let out = std::mem::take(&mut self.reply_out);
        let mut blocked = false;
        let pieces = out.chunks(ringway_driver::Class::K112.bytes());
        let count = pieces.len();
        for (at, piece) in pieces.enumerate() {
            let Some(slice) = slice_of(piece, self.driver.pool()) else { break };
            let last = if at + 1 == count { last } else { Last::More };
            match self.send_down(key, slice, last) {
                Some(sent) => blocked = !sent,
                None => {
                    self.reply_out = out;
                    return;
                }
            }
        }
        self.reply_out = out;
        if let Some(exchange) = self.exchanges.get_mut(xkey) {
            exchange.down_blocked = blocked;
            if !blocked {
                self.finish_exchange_of(key);
            }
        }
    }

    /// The connection is not to be used again: drain, or its listener was removed, or a limit of the connection.
    pub(crate) fn leaving(&self, key: Key) -> bool {
        let Some(session) = self.sessions.get(key) else { return true };
        let listening = &self.listening[session.listener as usize];
        let Some(http) = listening.live.http(listening.at) else { return true };
        let aged = http
            .timeouts
            .connection_age_ms
            .is_some_and(|ms| self.driver.now().saturating_sub(session.opened) >= ms.saturating_mul(1_000));
        let used_up =
            http.limits.requests_per_connection_max.is_some_and(|max| u64::from(session.requests) >= max);
        self.drain.is_some() || listening.closing || aged || used_up || session.peer_ended
    }

    /// Gives an exchange that has failed its answer, or cuts it off when one was begun.
    pub(crate) fn fail_exchange(&mut self, key: Key, xkey: Key, reply: &Reply) {
        self.drop_attempt(xkey, Close::Reset);
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        if exchange.response.answer == Answer::Awaited {
            self.local_reply(key, xkey, reply);
        } else {
            self.abort_exchange_of(key, reply.flag, reply.reason);
        }
    }
}

/// The `Date` field, rendered once a second.
#[derive(Default)]
pub(crate) struct Date {
    second: u64,
    text: String,
}

impl Date {
    /// IMF-fixdate (RFC 9110 section 5.6.7) of a time in microseconds since the Unix epoch.
    pub(crate) fn text(&mut self, unix_us: u64) -> &[u8] {
        let second = unix_us / 1_000_000;
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = imf_fixdate(second);
        }
        self.text.as_bytes()
    }
}

fn imf_fixdate(second: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, of_day) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, sec) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{sec:02} GMT")
}

/// Year, month, day of a day number since 1970-01-01 (Gregorian).
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_the_rfc_writes_them() {
        assert_eq!(imf_fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(imf_fixdate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf_fixdate(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    }

    #[test]
    fn the_date_is_rendered_once_a_second() {
        let mut date = Date::default();
        let first = date.text(1_000_000).as_ptr();
        assert_eq!(date.text(1_999_999).as_ptr(), first);
        assert_eq!(date.text(2_000_000), b"Thu, 01 Jan 1970 00:00:02 GMT");
    }
}
