//! What a NAS answers a Change of Authorization, and what follows from it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use time::Duration;

use crate::request::words;

/// Whether the NAS did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NasResult {
    /// The NAS did it.
    Ack,
    /// The NAS refused.
    Nak,
    /// The NAS did not answer the edge.
    Timeout,
}

words!(NasResult, "result",
    NasResult::Ack => "ack", NasResult::Nak => "nak", NasResult::Timeout => "timeout",
);

/// The NAS's word on a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NasAnswer {
    pub result: NasResult,
    /// Why, where the NAS said so.
    pub error_cause: Option<ErrorCause>,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The client is moved, or about to be.
    Done,
    /// There is nobody to move: nothing is left to do until the client comes again.
    Gone,
    /// It would be refused again: somebody has to see to it.
    Failed,
    /// It may go better soon: the command goes out again, as long as it is wanted.
    Again,
}

/// Why a NAS refused, or what else it did (RFC 5176 3.5). Numbers that the table does not know stay numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCause(pub u32);

/// What is known of an Error-Cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCauseEntry {
    pub number: u32,
    /// As FreeRADIUS's dictionary spells it.
    pub name: &'static str,
    pub meaning: &'static str,
    /// What an admin does.
    pub remedy: &'static str,
    /// What follows where it comes with a NAK.
    pub next: Next,
}

const fn entry(
    number: u32,
    name: &'static str,
    next: Next,
    meaning: &'static str,
    remedy: &'static str,
) -> ErrorCauseEntry {
    ErrorCauseEntry { number, name, meaning, remedy, next }
}

/// Every Error-Cause of RFC 5176, by number.
pub const ERROR_CAUSES: &[ErrorCauseEntry] = &[
    entry(
        201,
        "Residual-Context-Removed",
        Next::Gone,
        "The client was gone already; what was left of its session is removed.",
        "Nothing.",
    ),
    entry(
        202,
        "Invalid-EAP-Packet",
        Next::Failed,
        "The NAS passed over an EAP packet that it could not use.",
        "Look at the NAS's log: Gatehouse sends no EAP in a Change of Authorization, so something between changes it.",
    ),
    entry(
        401,
        "Unsupported-Attribute",
        Next::Failed,
        "The request holds an attribute that the NAS does not know.",
        "Set the NAS's vendor in the edge's configuration, so that it is asked in its own words; update its firmware.",
    ),
    entry(
        402,
        "Missing-Attribute",
        Next::Failed,
        "The NAS misses an attribute by which it would find the session.",
        "Have the NAS send Acct-Session-Id and Calling-Station-Id when it asks and when it accounts; Gatehouse gives \
         back what it was told.",
    ),
    entry(
        403,
        "NAS-Identification-Mismatch",
        Next::Failed,
        "The request names another NAS than the one that got it.",
        "Compare the NAS's address and identifier in the edge's configuration with what it sends as NAS-IP-Address \
         and NAS-Identifier.",
    ),
    entry(
        404,
        "Invalid-Request",
        Next::Failed,
        "Something else about the request is wrong for the NAS.",
        "Look at the NAS's log; check that its vendor in the edge's configuration is right.",
    ),
    entry(
        405,
        "Unsupported-Service",
        Next::Failed,
        "The NAS does not do this kind of Change of Authorization.",
        "Have its clients disconnected instead: set the NAS's vendor in the edge's configuration to one that is asked \
         so, or allow re-authentication by CoA on the NAS.",
    ),
    entry(
        406,
        "Unsupported-Extension",
        Next::Failed,
        "The NAS does not do Change of Authorization at all, or not this request of it.",
        "Turn dynamic authorization (RFC 5176) on at the NAS, and update its firmware; without it, clients move when \
         their session timeout is over.",
    ),
    entry(
        407,
        "Invalid-Attribute-Value",
        Next::Failed,
        "An attribute holds a value that the NAS does not take.",
        "Check the edge's `mac_format` for the NAS, and its clock: a NAS refuses an Event-Timestamp that is far off.",
    ),
    entry(
        501,
        "Administratively-Prohibited",
        Next::Failed,
        "The NAS is told not to do this for this session.",
        "Allow it on the NAS: many let it be ignored per port or for single kinds of command.",
    ),
    entry(
        502,
        "Proxy-Request-Not-Routable",
        Next::Failed,
        "A proxy on the way knows no NAS for the request.",
        "Give the proxy a route to the NAS, or have the edge talk to the NAS itself.",
    ),
    entry(
        503,
        "Session-Context-Not-Found",
        Next::Gone,
        "The NAS has no such session: the client has left, or the NAS began anew.",
        "Nothing: when the client comes again, it is decided on anew. Where it happens to clients that are there, \
         have the NAS send the same Acct-Session-Id when it asks as when it accounts.",
    ),
    entry(
        504,
        "Session-Context-Not-Removable",
        Next::Failed,
        "The NAS has the session, but cannot end it.",
        "Disconnect the client at the NAS itself, and look at its log.",
    ),
    entry(
        505,
        "Proxy-Processing-Error",
        Next::Failed,
        "A proxy on the way could not pass the request on.",
        "Look at the proxy's log, or have the edge talk to the NAS itself.",
    ),
    entry(
        506,
        "Resources-Unavailable",
        Next::Again,
        "The NAS is too busy, or short of memory.",
        "Nothing, unless it lasts: it is asked again. Then lower the edge's `coa_per_nas_max`.",
    ),
    entry(
        507,
        "Request-Initiated",
        Next::Done,
        "The NAS asks about the client by itself, at once.",
        "Nothing: the answer to what it asks is what moves the client.",
    ),
    entry(
        508,
        "Multiple-Session-Selection-Unsupported",
        Next::Failed,
        "The request fits several sessions, and the NAS moves one at a time.",
        "Have the NAS send Acct-Session-Id when it asks, by which a session is named alone.",
    ),
];

/// Between an answer after which a command goes out again and that moment: the first time …
const AGAIN_AFTER: Duration = Duration::seconds(30);
/// … twice as long each time, and this at most.
const AGAIN_AFTER_MAX: Duration = Duration::minutes(4);

impl ErrorCause {
    #[must_use]
    pub fn entry(self) -> Option<&'static ErrorCauseEntry> {
        ERROR_CAUSES.iter().find(|entry| entry.number == self.0)
    }
}

/// Its name and number; the number alone where it has no name.
impl std::fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry() {
            Some(entry) => write!(f, "{} ({})", entry.name, self.0),
            None => write!(f, "Error-Cause {}", self.0),
        }
    }
}

impl NasAnswer {
    /// What follows. A cause that nobody knows is taken for a refusal that lasts.
    #[must_use]
    pub fn next(self) -> Next {
        match self.result {
            NasResult::Ack => Next::Done,
            NasResult::Timeout => Next::Again,
            NasResult::Nak => {
                self.error_cause.and_then(ErrorCause::entry).map_or(Next::Failed, |entry| entry.next)
            }
        }
    }

    /// In words for a sentence that begins with the command.
    #[must_use]
    pub fn describe(self) -> String {
        let mut said = match self.result {
            NasResult::Ack => "the NAS did it",
            NasResult::Nak => "the NAS refused",
            NasResult::Timeout => "the NAS did not answer",
        }
        .to_owned();
        if let Some(cause) = self.error_cause {
            let _ = write!(said, ": {cause}");
        }
        said
    }
}

/// How long a command rests that goes out again, after so many answers of that kind.
#[must_use]
pub fn again_after(answers: u32) -> Duration {
    let doublings = answers.saturating_sub(1).min(8);
    (AGAIN_AFTER * 2i32.pow(doublings)).min(AGAIN_AFTER_MAX)
}

/// What is left of an edge's words where the cause says the rest: edges that know its name say it, too.
#[must_use]
pub fn words_beyond(cause: Option<ErrorCause>, words: Option<String>) -> Option<String> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let name = cause.and_then(ErrorCause::entry).map(|entry| plain(entry.name));
    words.filter(|words| !words.trim().is_empty() && name.as_deref() != Some(plain(words).as_str()))
}

#[cfg(test)]
mod tests;
