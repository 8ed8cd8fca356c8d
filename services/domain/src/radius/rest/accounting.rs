//! From a packet's attributes to an accounting message.

use std::net::IpAddr;

use time::{Date, Duration, Month, OffsetDateTime, Time};

use super::request::nas;
use super::{Attributes, mac, session_key, session_key_of_class};
use crate::Mac;
use crate::request::Nas;
use crate::session::AccountingStatus;

/// What a packet tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Session(Box<Message>),
    /// The NAS starts or stops as a whole (Accounting-On, Accounting-Off): none of its sessions goes on.
    NasRestarted(Box<Restart>),
    /// Of no session, or in no status that we know.
    Nothing,
}

/// Of a NAS as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// As its requests name it.
    pub nas: Nas,
    /// When it happened; `None` where the NAS does not say.
    pub at: Option<OffsetDateTime>,
    /// For so long it has been under way (Acct-Delay-Time).
    pub delay: Duration,
}

/// Of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub status: AccountingStatus,
    pub session_key: String,
    /// Acct-Session-Id: the NAS's own name of the stay, which it wants to hear in a Change of Authorization.
    pub acct_session_id: Option<String>,
    /// When it happened; `None` where the NAS does not say.
    pub at: Option<OffsetDateTime>,
    /// For so long it has been under way (Acct-Delay-Time).
    pub delay: Duration,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub framed_ip: Option<IpAddr>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub session_seconds: Option<i64>,
    pub terminate_cause: Option<String>,
}

/// Reads an accounting message out of a packet. Never fails: a NAS would send again for ever what is refused.
#[must_use]
pub fn read(attributes: &Attributes) -> Told {
    let status = match attributes.first("Acct-Status-Type") {
        Some("Start" | "1") => AccountingStatus::Start,
        Some("Stop" | "2") => AccountingStatus::Stop,
        Some("Interim-Update" | "Alive" | "3") => AccountingStatus::Interim,
        Some("Accounting-On" | "7" | "Accounting-Off" | "8") => {
            let restart =
                Restart { nas: nas(attributes), at: happened_at(attributes), delay: delay(attributes) };
            return Told::NasRestarted(Box::new(restart));
        }
        _ => return Told::Nothing,
    };
    // The Class that came with the Access-Accept is the best name: some NASes give no Acct-Session-Id before it.
    let Some(session_key) = session_key_of_class(attributes).or_else(|| session_key(attributes)) else {
        return Told::Nothing;
    };
    let text = |name| attributes.first(name).map(str::to_owned);
    let ip = |name| attributes.first(name).and_then(|ip| ip.parse::<IpAddr>().ok());
    Told::Session(Box::new(Message {
        status,
        session_key,
        acct_session_id: text("Acct-Session-Id"),
        at: happened_at(attributes),
        delay: delay(attributes),
        mac: mac(attributes),
        user_name: text("User-Name"),
        framed_ip: ip("Framed-IP-Address")
            .filter(|ip| !ip.is_unspecified())
            .or_else(|| ip("Framed-IPv6-Address")),
        bytes_in: octets(attributes, "Acct-Input-Octets", "Acct-Input-Gigawords"),
        bytes_out: octets(attributes, "Acct-Output-Octets", "Acct-Output-Gigawords"),
        session_seconds: attributes.number("Acct-Session-Time").filter(|seconds| *seconds >= 0),
        terminate_cause: text("Acct-Terminate-Cause"),
    }))
}

/// RFC 2869 5.1: how often the counter of 32 bits has gone round.
fn octets(attributes: &Attributes, low: &str, high: &str) -> Option<i64> {
    let word = |name| attributes.number(name).and_then(|number| u32::try_from(number).ok());
    let (low, high) = (word(low)?, word(high).unwrap_or(0));
    i64::try_from((u64::from(high) << 32) + u64::from(low)).ok()
}

/// `Gatehouse-Event-Time`, seconds since 1970, is the edge's reading of Event-Timestamp: without it, the text is only
/// understood where the edge's server runs in UTC.
fn happened_at(attributes: &Attributes) -> Option<OffsetDateTime> {
    match attributes.number("Gatehouse-Event-Time") {
        Some(seconds) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        None => time_of(attributes.first("Event-Timestamp")?),
    }
}

/// RFC 2866 5.2.
fn delay(attributes: &Attributes) -> Duration {
    let seconds = attributes.number("Acct-Delay-Time").and_then(|seconds| u32::try_from(seconds).ok());
    Duration::seconds(seconds.unwrap_or(0).into())
}

/// `Nov 20 2026 17:59:48 UTC`, or seconds since 1970.
fn time_of(text: &str) -> Option<OffsetDateTime> {
    if let Ok(seconds) = text.parse() {
        return OffsetDateTime::from_unix_timestamp(seconds).ok();
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let [month, day, year, clock, "UTC" | "GMT"] = words.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = (1..).zip(months).find(|(_, name)| name == month)?.0;
    let date = Date::from_calendar_date(year.parse().ok()?, Month::try_from(month).ok()?, day.parse().ok()?);
    let clock: Vec<u8> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = clock.as_slice() else { return None };
    Some(date.ok()?.with_time(Time::from_hms(*hour, *minute, *second).ok()?).assume_utc())
}
