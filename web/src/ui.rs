//! Small pieces of HTML that pages are built of: icons, times, pills. Whatever text goes in is escaped here.

use std::borrow::Borrow;
use std::fmt;

use askama::filters::HtmlSafe;
use domain::command::{NasAnswer, Next};
use domain::compliance::{Literal, Verdict};
use domain::event::EventKind;
use domain::link::LinkState;
use domain::resolver::MatchStrength;
use store::views::COUNT_MAX;
use store::views::hits::HITS_MAX;
use time::OffsetDateTime;

use crate::{assets, format};

/// Templates hand over values and references of any depth.
pub(crate) trait Value<T> {
    fn value(&self) -> T;
}

macro_rules! values {
    ($($from:ty => $to:ty),+ $(,)?) => {
        $(impl Value<$to> for $from {
            fn value(&self) -> $to {
                <$to>::from(*self)
            }
        })+
    };
}

values!(
    OffsetDateTime => OffsetDateTime, Literal => Literal, LinkState => LinkState, i64 => i64, i32 => i64, u32 => i64,
);

impl Value<i64> for u64 {
    fn value(&self) -> i64 {
        i64::try_from(*self).unwrap_or(i64::MAX)
    }
}

impl Value<i64> for usize {
    fn value(&self) -> i64 {
        i64::try_from(*self).unwrap_or(i64::MAX)
    }
}

impl<T, V: Value<T> + ?Sized> Value<T> for &V {
    fn value(&self) -> T {
        (**self).value()
    }
}

/// An instant, however it is handed over.
pub(crate) trait Instant: Value<OffsetDateTime> {}
impl<V: Value<OffsetDateTime>> Instant for V {}

/// HTML that is complete and safe as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Html(String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// Text for element content and for quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A decorative icon of the sprite.
pub(crate) fn icon(name: impl AsRef<str>) -> Html {
    Html(format!(
        r#"<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>"#,
        assets::url("icons"),
        escape(name.as_ref())
    ))
}

/// A pill: icon, word, and a tone (`good`, `bad`, `warn`, `lapse`, `accent` or empty).
pub(crate) fn pill(tone: &str, icon_name: &str, text: &str) -> Html {
    Html(format!(r#"<span class="pill {tone}">{}{}</span>"#, icon(icon_name), escape(text)))
}

/// Tone and icon of a compliance literal.
pub(crate) fn literal_look(literal: Literal) -> (&'static str, &'static str) {
    match literal {
        Literal::Compliant => ("good", "good"),
        Literal::NonCompliant => ("bad", "bad"),
        Literal::InGracePeriod | Literal::Error | Literal::Conflict | Literal::Ambiguous => ("warn", "warn"),
        Literal::Stale => ("lapse", "clock"),
        Literal::Unknown
        | Literal::NotEvaluated
        | Literal::ConfigManager
        | Literal::Other
        | Literal::NotEnrolled
        | Literal::Unlinked => ("", "unknown"),
    }
}

/// A literal, such as `in-grace-period`.
pub(crate) fn literal(literal: impl Value<Literal>) -> Html {
    let literal = literal.value();
    let (tone, icon) = literal_look(literal);
    pill(tone, icon, literal.as_str())
}

/// A verdict by its word, as it is stored beside events.
pub(crate) fn verdict(word: impl AsRef<str>) -> Html {
    let word = word.as_ref();
    match word.parse::<Verdict>() {
        Ok(Verdict::Compliant) => pill("good", "good", word),
        Ok(Verdict::NonCompliant) => pill("bad", "bad", word),
        _ => pill("", "unknown", word),
    }
}

/// Allowed or denied.
pub(crate) fn permit(permit: impl Borrow<bool>) -> Html {
    if *permit.borrow() { pill("good", "good", "permit") } else { pill("bad", "bad", "deny") }
}

/// A match strength.
pub(crate) fn strength(word: impl AsRef<str>) -> Html {
    let word = word.as_ref();
    let tone = match word.parse::<MatchStrength>() {
        Ok(MatchStrength::Certificate) => "good",
        Ok(MatchStrength::Name) => "",
        Ok(MatchStrength::Mac) => "warn",
        Err(_) => "",
    };
    pill(tone, "strength", word)
}

/// How a link stands, in two words.
pub(crate) fn link_state(state: impl Value<LinkState>) -> Html {
    let state = state.value();
    let tone = match state {
        LinkState::Connected => return pill("good", "good", "connected"),
        LinkState::Throttled | LinkState::Unreachable => "warn",
        _ => "bad",
    };
    pill(tone, if tone == "warn" { "warn" } else { "bad" }, &state.as_str().replace('_', " "))
}

/// Tone and icon of an event type.
pub(crate) fn event_look(kind: impl AsRef<str>) -> (&'static str, &'static str) {
    match kind.as_ref().parse::<EventKind>() {
        Ok(EventKind::NacClientPermit) => ("good", "good"),
        Ok(EventKind::NacClientDeny) => ("bad", "bad"),
        Ok(
            EventKind::NacMdmLookupFailure
            | EventKind::NacClientCertCheckFailure
            | EventKind::NacClientCertExpired
            | EventKind::NacServerCertValidationFailure
            | EventKind::NacIdpAuthcFailure
            | EventKind::NacClientAuthFailure,
        ) => ("bad", "warn"),
        Ok(EventKind::NacClientCheckAgain) => ("", "refresh"),
        Ok(EventKind::NacMdmDeviceNotEnrolled) => ("warn", "unknown"),
        Ok(EventKind::NacMdmComplianceChanged) => ("accent", "shield"),
        Ok(EventKind::NacClientCoaReauth | EventKind::NacClientCoaDisconnect) => ("accent", "bolt"),
        Ok(EventKind::NacCoaHeld) => ("warn", "pause"),
        Ok(EventKind::NacMdmCredentialExpiring) => ("warn", "clock"),
        Ok(EventKind::NacMdmLinkStateChanged) => ("accent", "link"),
        Ok(EventKind::NacSessionStarted) => ("", "play"),
        Ok(EventKind::NacSessionEnded) => ("", "ring"),
        Ok(EventKind::NacClientIpAssigned) => ("", "port"),
        _ => ("", "events"),
    }
}

/// A fact that may not be known.
pub(crate) fn yes_no(fact: impl Borrow<Option<bool>>) -> Html {
    match fact.borrow() {
        Some(true) => Html("yes".to_owned()),
        Some(false) => Html("no".to_owned()),
        None => Html(r#"<span class="faint">unknown</span>"#.to_owned()),
    }
}

/// Where a command stands.
pub(crate) fn command_state(state: impl AsRef<str>) -> Html {
    let state = state.as_ref();
    let (tone, icon) = match state {
        "held" => ("warn", "pause"),
        "pending" | "delivered" => ("accent", "clock"),
        "acked" => ("good", "good"),
        "failed" | "expired" => ("bad", "bad"),
        _ => ("", "ring"),
    };
    pill(tone, icon, state)
}

/// Where a command stands by what the NAS answered: one that failed because there was nobody to move is gone, and
/// nobody has to see to it.
pub(crate) fn answered_state(state: impl AsRef<str>, answer: impl Borrow<Option<NasAnswer>>) -> Html {
    let (state, answer): (&str, &Option<NasAnswer>) = (state.as_ref(), answer.borrow());
    let is_gone = state == "failed" && answer.is_some_and(|answer| answer.next() == Next::Gone);
    command_state(if is_gone { "gone" } else { state })
}

/// An event type, as Mist names it.
pub(crate) fn event(kind: impl AsRef<str>) -> Html {
    let kind = kind.as_ref();
    let (tone, icon) = event_look(kind);
    pill(tone, icon, kind)
}

/// An instant with its zone and its age: `20 Nov 12:34:56 UTC`, `3 min ago` below it.
pub(crate) fn when(at: impl Instant, now: impl Instant) -> Html {
    let (at, now) = (at.value(), now.value());
    Html(format!(
        r#"<time datetime="{iso}" title="{full}">{text}</time><span class="sub" data-age="{iso}">{age}</span>"#,
        iso = format::iso(at),
        full = format::full(at),
        text = format::stamp(at, now),
        age = format::age(at, now),
    ))
}

/// The age alone, with the instant as its title.
pub(crate) fn ago(at: impl Instant, now: impl Instant) -> Html {
    let (at, now) = (at.value(), now.value());
    Html(format!(
        r#"<time datetime="{iso}" title="{full}" data-age="{iso}">{age}</time>"#,
        iso = format::iso(at),
        full = format::full(at),
        age = format::age(at, now),
    ))
}

/// The instant and its age on one line.
pub(crate) fn at(at: impl Instant, now: impl Instant) -> Html {
    let (at, now) = (at.value(), now.value());
    Html(format!(
        r#"<time datetime="{iso}" title="{full}">{text}</time> <span class="faint">(<span data-age="{iso}">{age}</span>)</span>"#,
        iso = format::iso(at),
        full = format::full(at),
        text = format::stamp(at, now),
        age = format::age(at, now),
    ))
}

/// A number with thin spaces between its thousands.
pub(crate) fn count(n: impl Value<i64>) -> String {
    format::count(n.value())
}

/// A count that the views stop at [`COUNT_MAX`]: `100 000 or more`.
pub(crate) fn about(n: impl Value<i64>) -> String {
    format::capped(n.value(), COUNT_MAX)
}

/// A rule's hits, that the views stop counting at [`HITS_MAX`]: `10 000 or more`.
pub(crate) fn hits(n: impl Value<i64>) -> String {
    format::capped(n.value(), HITS_MAX)
}

/// `20 Nov 12:34:56 UTC`
pub(crate) fn stamp(at: impl Instant, now: impl Instant) -> String {
    format::stamp(at.value(), now.value())
}

/// `20 Nov 12:34:56`, where the column's head names the zone.
pub(crate) fn clock(at: impl Instant, now: impl Instant) -> String {
    format::stamp(at.value(), now.value()).trim_end_matches(" UTC").to_owned()
}

/// `2026-11-20T12:34:56Z`
pub(crate) fn iso(at: impl Instant) -> String {
    format::iso(at.value())
}

/// `3 min ago`
pub(crate) fn age(at: impl Instant, now: impl Instant) -> String {
    format::age(at.value(), now.value())
}

/// How long something took, exactly where it was short.
pub(crate) fn took(from: impl Instant, to: impl Instant) -> String {
    let length = to.value() - from.value();
    if length < time::Duration::seconds(10) {
        format!("{}.{} s", length.whole_seconds(), length.subsec_milliseconds().unsigned_abs() / 100)
    } else {
        format::span(length)
    }
}

/// Seconds in the unit that they were meant in.
pub(crate) fn seconds(n: impl Value<i64>) -> String {
    format::exact_span(n.value())
}

/// `12.3 MB`
pub(crate) fn bytes(n: impl Value<i64>) -> String {
    format::bytes(n.value())
}

/// A share of a whole.
pub(crate) fn percent(part: impl Value<i64>, whole: impl Value<i64>) -> String {
    format::percent(part.value(), whole.value())
}

#[cfg(test)]
mod tests {
    use domain::command::{ErrorCause, NasResult};

    use super::*;

    #[test]
    fn nobody_to_move_is_no_failure() {
        let nak = |cause| Some(NasAnswer { result: NasResult::Nak, error_cause: Some(ErrorCause(cause)) });
        assert_eq!(answered_state("failed", nak(503)), pill("", "ring", "gone"));
        assert_eq!(answered_state("failed", nak(501)), command_state("failed"));
        assert_eq!(answered_state("failed", None::<NasAnswer>), command_state("failed"));
        // Said once, and asked again since.
        assert_eq!(answered_state("delivered", nak(506)), command_state("delivered"));
    }

    #[test]
    fn text_cannot_leave_its_place() {
        let html = pill("", "ring", r#""><script>alert('x')</script>"#).to_string();
        assert!(!html.contains("<script>"));
        assert!(html.contains("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)"));
    }
}
