//! Whether a failed attempt may be followed by another. The default set: what certainly did no work upstream, and nothing else.

use crate::spec;

/// What ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection was made: refused, unreachable, reset or timed out before it stood.
    ConnectFailed,
    /// The peer said that it did nothing with the request (HTTP/2 REFUSED_STREAM, RFC 9113 section 8.7).
    Refused,
    /// The connection was reset or ended.
    Closed,
    /// A time limit of the attempt passed.
    TimedOut,
    /// The answer was not understood.
    Malformed,
}

/// How much of the request was handed to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not one byte.
    Nothing,
    /// At least one byte.
    Part,
}

/// A failed attempt, as far as another one depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What ended it.
    pub cause: Cause,
    /// How much of the request was sent.
    pub sent: Sent,
    /// Response bytes received, interim answers (1xx) included.
    pub response_bytes: u64,
    /// The connection had served an exchange before: the peer may have closed it before it saw this request (RFC 9112 section 9.3.1).
    pub reused_connection: bool,
    /// RFC 9110 section 9.2.2.
    pub idempotent: bool,
    /// The whole request, as far as it was read from the client, can be sent again.
    pub replayable: bool,
    /// Attempts made so far, the failed one included.
    pub attempts: u32,
}

/// Whether another attempt may be made.
///
/// Never behind a response byte, never more than `policy.max` times, never without all bytes of the request. A request of which nothing
/// was sent, or that the peer says it refused, may be repeated whatever its method; one that was sent only if it is idempotent and the
/// connection was a reused one (RFC 9110 section 9.2.2: a proxy must not repeat non-idempotent requests by itself). On a fresh
/// connection a close is an answer about this request, and a timeout or a malformed answer says that work was done.
pub fn may_retry(failure: &Failure, policy: &spec::Retry) -> bool {
    if failure.response_bytes > 0 || failure.attempts > policy.max || !failure.replayable {
        return false;
    }
    match failure.cause {
        Cause::ConnectFailed | Cause::Refused => true,
        Cause::Closed => failure.sent == Sent::Nothing || (failure.reused_connection && failure.idempotent),
        Cause::TimedOut | Cause::Malformed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Failure = Failure {
        cause: Cause::Closed,
        sent: Sent::Part,
        response_bytes: 0,
        reused_connection: true,
        idempotent: true,
        replayable: true,
        attempts: 1,
    };

    fn allowed(failure: Failure) -> bool {
        may_retry(&failure, &spec::Retry::default())
    }

    #[test]
    fn a_close_on_a_reused_connection_is_retried_once() {
        assert!(allowed(CLOSED));
        assert!(!allowed(Failure { attempts: 2, ..CLOSED }));
        assert!(may_retry(&Failure { attempts: 2, ..CLOSED }, &spec::Retry { max: 2 }));
        assert!(!may_retry(&CLOSED, &spec::Retry { max: 0 }));
    }

    #[test]
    fn a_sent_request_that_is_not_idempotent_is_never_repeated() {
        let post = Failure { idempotent: false, ..CLOSED };
        assert!(!allowed(post));
        assert!(allowed(Failure { sent: Sent::Nothing, ..post }));
        assert!(allowed(Failure { cause: Cause::Refused, ..post }));
        assert!(allowed(Failure { cause: Cause::ConnectFailed, sent: Sent::Nothing, ..post }));
    }

    #[test]
    fn nothing_is_repeated_behind_a_response_byte_or_without_its_body() {
        for cause in [Cause::ConnectFailed, Cause::Refused, Cause::Closed] {
            assert!(allowed(Failure { cause, ..CLOSED }));
            assert!(!allowed(Failure { cause, response_bytes: 1, ..CLOSED }));
            assert!(!allowed(Failure { cause, replayable: false, ..CLOSED }));
        }
    }

    #[test]
    fn a_fresh_connection_a_timeout_and_nonsense_are_final() {
        assert!(!allowed(Failure { reused_connection: false, ..CLOSED }));
        assert!(allowed(Failure { reused_connection: false, sent: Sent::Nothing, ..CLOSED }));
        assert!(!allowed(Failure { cause: Cause::TimedOut, ..CLOSED }));
        assert!(!allowed(Failure { cause: Cause::Malformed, ..CLOSED }));
    }
}
