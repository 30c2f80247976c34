//! The hostile tables: what is sent, and what must come of it, written by hand from the section named before anything was run.

mod requests;
mod responses;

pub use requests::requests;
pub use responses::responses;

/// What must become of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Answered with one of these statuses, connection closed behind the answer, nothing reaches the upstream.
    Refused(&'static [u16]),
    /// Answered 200 by the upstream, which saw each of the first texts and none of the second.
    Passed(&'static [&'static str], &'static [&'static str]),
    /// Answered 200 by the upstream, this many times, in order.
    Answered(usize),
}

/// One hostile (or merely odd) request.
#[derive(Clone, Debug)]
pub struct RequestCase {
    /// Unique, for messages and the table.
    pub name: &'static str,
    /// Where it is decided.
    pub rfc: &'static str,
    /// What the client sends.
    pub bytes: Vec<u8>,
    /// What must come of it.
    pub outcome: Outcome,
}

/// What must become of a response.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The client gets 502 and not a byte of the answer.
    BadGateway,
    /// The client gets this status, sees each of the first texts and none of the second, and the message is whole.
    Passed(u16, &'static [&'static str], &'static [&'static str]),
    /// The client gets 502, or (when the fault shows behind a good part) can see that the body is not whole.
    CutOff,
}

/// One hostile (or merely odd) response.
#[derive(Clone, Debug)]
pub struct ResponseCase {
    /// Unique, for messages and the table.
    pub name: &'static str,
    /// Where it is decided.
    pub rfc: &'static str,
    /// Method of the client's request.
    pub method: &'static str,
    /// What the upstream sends; it closes behind it.
    pub bytes: Vec<u8>,
    /// What must come of it.
    pub fate: Fate,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Refused(statuses) => {
                let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
                write!(f, "refused, {}", statuses.join(" or "))
            }
            Outcome::Passed(with, without) => {
                write!(f, "forwarded")?;
                if !with.is_empty() {
                    write!(f, " with {}", quoted(with))?;
                }
                if !without.is_empty() {
                    write!(f, " without {}", quoted(without))?;
                }
                Ok(())
            }
            Outcome::Answered(count) => write!(f, "{count} answers, in order"),
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::BadGateway => write!(f, "502"),
            Fate::Passed(status, with, without) => {
                write!(f, "{status}, whole")?;
                if !with.is_empty() {
                    write!(f, ", with {}", quoted(with))?;
                }
                if !without.is_empty() {
                    write!(f, ", without {}", quoted(without))?;
                }
                Ok(())
            }
            Fate::CutOff => write!(f, "502, or cut off visibly"),
        }
    }
}

fn quoted(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|t| format!("`{}`", t.escape_debug())).collect();
    texts.join(", ")
}
