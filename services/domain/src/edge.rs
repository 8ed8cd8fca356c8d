//! What an edge says of itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::request::UnknownWord;

/// How commands get to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// It asks, and waits.
    Poll,
    /// Server-sent events.
    Stream,
}

impl Channel {
    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Stream => "stream",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Channel {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "poll" => Ok(Self::Poll),
            "stream" => Ok(Self::Stream),
            _ => Err(UnknownWord { what: "channel", allowed: "poll, stream".to_owned() }),
        }
    }
}

/// The bundle that an agent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBundle {
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Too old to decide from.
    pub over: bool,
}

/// How the agent beside an edge stands, as it says itself once a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The agent's.
    pub version: String,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// `None`: commands do not reach it at present.
    pub channel: Option<Channel>,
    /// The program that asks it, by its User-Agent.
    pub radius: Option<String>,
    /// Bodies that wait for the cloud, and those that the cloud refused for good.
    pub waiting: u64,
    pub refused: u64,
    /// `None`: it holds none.
    pub bundle: Option<HeldBundle>,
    /// NASes that it may send commands to, as its file lists them.
    pub nas: u64,
    /// Decisions without the cloud since it started, and the last of them.
    pub decided_offline: u64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub decided_offline_at: Option<OffsetDateTime>,
}
