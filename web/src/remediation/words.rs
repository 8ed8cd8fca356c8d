//! What a page says, in each language: a language without one of these words does not compile.

pub(super) mod de;
pub(super) mod en;
pub(super) mod es;
pub(super) mod fr;
pub(super) mod ja;
pub(super) mod nl;

use time::OffsetDateTime;

use super::language::Span;
use super::why::{Step, Why};

/// One language. Plain words, for people who know nothing of networks.
pub(super) struct Words {
    pub title: &'static str,
    pub held: &'static str,
    pub moving_title: &'static str,
    pub moving_text: &'static str,
    pub settled_title: &'static str,
    pub settled_text: &'static str,
    pub what_to_do: &'static str,
    pub about: &'static str,
    pub check_again: &'static str,
    pub open_portal: &'static str,
    pub language: &'static str,
    pub device: &'static str,
    /// The MAC address.
    pub address: &'static str,
    pub last_check_in: &'static str,
    pub looked_at: &'static str,
    pub grace_ends: &'static str,
    pub checking: &'static str,
    pub no_change: &'static str,
    pub late: &'static str,
    pub gone_title: &'static str,
    pub gone_text: &'static str,
    pub busy_title: &'static str,
    pub away_text: &'static str,
    /// The organization's own words stand below it.
    pub help_from: fn(&str) -> String,
    /// Seconds.
    pub too_soon: fn(u64) -> String,
    pub ago: fn(Span) -> String,
    pub ahead: fn(Span) -> String,
    pub why: fn(Why) -> (&'static str, &'static str),
    pub step: fn(Step) -> &'static str,
}

impl Words {
    /// In few words, and in full.
    pub(super) fn reason(&self, why: &Why) -> (&'static str, &'static str) {
        (self.why)(*why)
    }

    pub(super) fn to_do(&self, step: &Step) -> &'static str {
        (self.step)(*step)
    }

    pub(super) fn since(&self, then: &OffsetDateTime, now: &OffsetDateTime) -> String {
        (self.ago)(Span::between(*then, *now))
    }

    pub(super) fn until(&self, then: &OffsetDateTime, now: &OffsetDateTime) -> String {
        (self.ahead)(Span::between(*then, *now))
    }

    pub(super) fn help(&self, org: &str) -> String {
        (self.help_from)(org)
    }
}

/// `one` for one of them.
fn count(n: i64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::language::Language;
    use super::*;

    #[test]
    fn every_language_tells_every_reason_in_words_of_its_own() {
        for language in Language::ALL {
            let words = language.words();
            let titles: HashSet<_> = Why::ALL.iter().map(|why| (words.why)(*why).0).collect();
            assert_eq!(titles.len(), Why::ALL.len(), "{}", language.code());
            for why in Why::ALL {
                assert!(!why.steps().is_empty());
                for step in why.steps() {
                    let text = (words.step)(*step);
                    assert!(text.ends_with(['.', '。']), "{}: {text}", language.code());
                    if language != Language::English {
                        assert_ne!(text, (Language::English.words().step)(*step));
                    }
                }
                if language != Language::English {
                    assert_ne!((words.why)(why).1, (Language::English.words().why)(why).1);
                }
            }
            assert!((words.too_soon)(12).contains("12"));
            assert!((words.help_from)("Contoso").contains("Contoso"));
            for (n, span) in [(1, Span::Minutes(1)), (5, Span::Hours(5)), (3, Span::Days(3))] {
                assert!(
                    (words.ago)(span).contains(&n.to_string())
                        && (words.ahead)(span).contains(&n.to_string())
                );
            }
        }
    }
}
