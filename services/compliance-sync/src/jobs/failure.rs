//! What a failure means for the job and for the link. Pure.

use std::time::Duration;

use domain::link::LinkState;
use microsoft::GraphError;

use crate::config::SyncConfig;

/// How the job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The link's state because of it; `None` leaves it as it is.
    pub state: Option<LinkState>,
    pub wait: Duration,
    /// Microsoft asked for the wait: nobody's wish shortens it.
    pub asked_to_wait: bool,
    /// Go on from the cursor; otherwise start over.
    pub keep_cursor: bool,
}

/// A wait this long is worth telling people about.
const WORTH_TELLING: Duration = Duration::from_secs(60);

/// After so many failures in a row, what may be a page's own fault has the sweep start over.
const STARTS_OVER_AFTER: u32 = 3;

/// Judges a failure of Microsoft, after `fails` failures in a row before it. Waits are without jitter.
pub(crate) fn judge(error: &GraphError, fails: u32, config: &SyncConfig) -> Verdict {
    let state = error.link_state();
    let doubled = backoff(fails, config);
    if error.is_transient() {
        let asked = error.retry_after();
        let wait = asked.map_or(doubled, |asked| asked.min(Duration::from_secs(24 * 3600)));
        // One refusal among many good answers is nothing to show.
        let told = fails > 0 || wait >= WORTH_TELLING;
        return Verdict {
            state: state.filter(|_| told),
            wait,
            asked_to_wait: asked.is_some(),
            keep_cursor: true,
        };
    }
    let wait = match (error, state) {
        // Starting over is all it takes, once.
        (GraphError::PageExpired, _) if fails == 0 => Duration::from_secs(1),
        // Our own credential: every tenant fails at once, and all come back when it is renewed.
        (_, Some(LinkState::CredentialFailing)) => {
            Duration::from_secs(config.backoff_max_seconds.min(60).into())
        }
        _ => doubled,
    };
    // A page that was cut, a proxy's page in its place, a token that was refused in the middle: the pages before it
    // were read all the same, unless it goes on like that.
    let of_the_moment =
        matches!(error, GraphError::Protocol { .. } | GraphError::Unauthorized { .. } | GraphError::Token(_));
    Verdict { state, wait, asked_to_wait: false, keep_cursor: of_the_moment && fails < STARTS_OVER_AFTER }
}

/// The wait after `fails` failures in a row before this one.
pub(crate) fn backoff(fails: u32, config: &SyncConfig) -> Duration {
    let factor = 1_u32.checked_shl(fails.min(16)).unwrap_or(u32::MAX);
    let seconds = config.backoff_base_seconds.saturating_mul(factor).min(config.backoff_max_seconds);
    Duration::from_secs(seconds.into())
}

/// `wait` spread by up to `percent` either way; `random` is any number.
pub(crate) fn jitter(wait: Duration, percent: u8, random: u64) -> Duration {
    let percent = u64::from(percent.min(100));
    let thousandths = 1000 - percent * 10 + random % (percent * 20 + 1);
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_mul(thousandths) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SyncConfig {
        SyncConfig::default()
    }

    #[test]
    fn a_wait_that_microsoft_asks_for_is_kept_and_the_cursor_too() {
        let error = GraphError::Throttled { retry_after: Some(Duration::from_secs(42)) };
        let verdict = judge(&error, 0, &config());
        assert_eq!(verdict.wait, Duration::from_secs(42));
        assert!(verdict.asked_to_wait && verdict.keep_cursor);
        assert_eq!(verdict.state, None, "a short wait is no news");
        assert_eq!(judge(&error, 1, &config()).state, Some(LinkState::Throttled));
    }

    #[test]
    fn without_a_word_from_microsoft_waits_double_up_to_the_limit() {
        let error = GraphError::Unavailable { retry_after: None, detail: "503".to_owned() };
        let waits: Vec<u64> = (0..9).map(|fails| judge(&error, fails, &config()).wait.as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(backoff(u32::MAX, &config()).as_secs(), 900);
    }

    #[test]
    fn a_refusal_starts_over_and_names_the_state() {
        let error = GraphError::Forbidden { detail: String::new() };
        let verdict = judge(&error, 0, &config());
        assert_eq!(verdict.state, Some(LinkState::PermissionMissing));
        assert!(!verdict.keep_cursor);
        let verdict = judge(&GraphError::PageExpired, 0, &config());
        assert_eq!((verdict.state, verdict.wait, verdict.keep_cursor), (None, Duration::from_secs(1), false));
    }

    #[test]
    fn one_page_that_cannot_be_used_is_asked_for_again_and_in_the_end_all_are() {
        let detail = String::new;
        let token = microsoft::TokenError {
            kind: microsoft::TokenErrorKind::CredentialFailing,
            code: None,
            detail: detail(),
            retry_after: None,
        };
        for (error, keeps) in [
            (GraphError::Protocol { detail: detail() }, true),
            (GraphError::Unauthorized { detail: detail() }, true),
            (GraphError::Token(token), true),
            (GraphError::Forbidden { detail: detail() }, false),
            (GraphError::NoIntune { detail: detail() }, false),
            (GraphError::BadRequest { detail: detail() }, false),
            (GraphError::PageExpired, false),
        ] {
            let kept: Vec<bool> = (0..5).map(|fails| judge(&error, fails, &config()).keep_cursor).collect();
            assert_eq!(kept, [keeps, keeps, keeps, false, false], "{error}");
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let wait = Duration::from_secs(300);
        for random in [0, 1, 99, 100, 200, u64::MAX] {
            let spread = jitter(wait, 10, random);
            assert!((270..=330).contains(&spread.as_secs()), "{spread:?}");
        }
        assert_eq!(jitter(wait, 0, 12345), wait);
    }
}
