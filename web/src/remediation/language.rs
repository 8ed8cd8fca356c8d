//! In which language a page speaks, and how that language tells times.

use time::{OffsetDateTime, UtcOffset};

use super::words::{self, Words};

/// A language that a page can speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Language {
    #[default]
    English,
    German,
    French,
    Spanish,
    Dutch,
    Japanese,
}

impl Language {
    pub(super) const ALL: [Self; 6] =
        [Self::English, Self::German, Self::French, Self::Spanish, Self::Dutch, Self::Japanese];

    /// ISO 639-1.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Dutch => "nl",
            Self::Japanese => "ja",
        }
    }

    /// What it calls itself.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
            Self::French => "Français",
            Self::Spanish => "Español",
            Self::Dutch => "Nederlands",
            Self::Japanese => "日本語",
        }
    }

    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::English => &words::en::WORDS,
            Self::German => &words::de::WORDS,
            Self::French => &words::fr::WORDS,
            Self::Spanish => &words::es::WORDS,
            Self::Dutch => &words::nl::WORDS,
            Self::Japanese => &words::ja::WORDS,
        }
    }

    /// By its code, also with a region behind it (`de-AT`, `pt_BR`).
    pub(super) fn coded(tag: &str) -> Option<Self> {
        let code = tag.trim().split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.code().eq_ignore_ascii_case(code))
    }

    /// The one that Accept-Language likes best (RFC 9110 12.5.4) among those that are spoken here.
    pub(super) fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in header.split(',') {
            let mut parts = range.split(';');
            let Some(language) = parts.next().and_then(Self::coded) else { continue };
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(Some(1.0), |q| q.trim().parse().ok());
            let weight: f32 = weight.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            // Of equal ones, the first.
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }
}

/// How much time went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Moments,
    Minutes(i64),
    Hours(i64),
    Days(i64),
}

impl Span {
    pub(super) fn between(then: OffsetDateTime, now: OffsetDateTime) -> Self {
        match (now - then).abs().whole_seconds() {
            ..=59 => Self::Moments,
            seconds @ 60..=3_599 => Self::Minutes(seconds / 60),
            seconds @ 3_600..=172_799 => Self::Hours(seconds / 3_600),
            seconds => Self::Days(seconds / 86_400),
        }
    }
}

/// `2026-11-28 05:12 UTC`: read the same way everywhere.
pub(super) fn stamp(at: &OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute()
    )
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_visitors_language_is_found() {
        for (header, wanted) in [
            ("", Language::English),
            ("de", Language::German),
            ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", Language::French),
            ("en;q=0.2,nl-BE;q=0.7", Language::Dutch),
            ("pt-BR,es;q=0.4", Language::Spanish),
            ("ja-JP", Language::Japanese),
            ("xx, yy;q=0.1", Language::English),
            ("de;q=0, fr;q=0.1", Language::French),
            ("de;q=nonsense, ES ; q=0.3", Language::Spanish),
            (";;;,,,=;q", Language::English),
        ] {
            assert_eq!(Language::accepted(header), wanted, "{header}");
        }
        assert_eq!(Language::coded("DE_at"), Some(Language::German));
        assert_eq!(Language::coded("english"), None);
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let now = datetime!(2026-11-28 06:00 UTC);
        let of = |seconds| Span::between(now - Duration::seconds(seconds), now);
        assert_eq!(of(59), Span::Moments);
        assert_eq!(of(60), Span::Minutes(1));
        assert_eq!(of(7_199), Span::Hours(1));
        assert_eq!(of(172_800), Span::Days(2));
        assert_eq!(of(-3_600), Span::Hours(1));
        assert_eq!(stamp(&now), "2026-11-28 06:00 UTC");
    }
}
