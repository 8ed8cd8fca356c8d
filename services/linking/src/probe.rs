//! Does Graph answer for a tenant? Asked with patience right after consent, which takes a while to arrive.

use std::time::Duration;

use microsoft::{GraphError, Microsoft, TokenErrorKind};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Linking;

/// Between two tries: consent usually arrives within seconds.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(4);

/// What was found without any patience.
pub(crate) enum Consent {
    Stands,
    Absent,
}

impl Linking {
    /// Whether consent stands already. Whatever leaves that open is an error.
    pub(crate) async fn present_consent(
        &self,
        microsoft: &Microsoft,
        tid: Uuid,
    ) -> Result<Consent, GraphError> {
        let graph = microsoft.graph(tid);
        // A token from before would speak of before.
        graph.forget_token().await;
        match graph.probe().await {
            Ok(()) => Ok(Consent::Stands),
            Err(error) if is_absent(&error) => Ok(Consent::Absent),
            Err(error) => Err(error),
        }
    }

    /// Asks until Graph answers, `probe_for` has passed, or it says something that waiting does not change.
    pub(crate) async fn probe_patiently(&self, microsoft: &Microsoft, tid: Uuid) -> Result<(), GraphError> {
        let graph = microsoft.graph(tid);
        let until = Instant::now() + self.0.config.probe_for;
        let mut wait = FIRST_WAIT;
        loop {
            // A token that was minted before consent arrived lacks the permission for as long as it lives.
            graph.forget_token().await;
            let left = until.saturating_duration_since(Instant::now());
            // One slow answer must not outlast the patience, but is given a moment even at its end.
            let probed = tokio::time::timeout(left.max(FIRST_WAIT), graph.probe()).await;
            let error = match probed {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(GraphError::Unavailable {
                        retry_after: None,
                        detail: "no answer in time".to_owned(),
                    });
                }
            };
            let pause = error.retry_after().unwrap_or(wait).max(wait);
            let worth_it = is_absent(&error) || error.is_transient();
            if !worth_it || Instant::now() + pause > until {
                return Err(error);
            }
            tracing::info!(%tid, %error, wait_ms = pause.as_millis(), "consent has not reached Graph yet");
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

/// Consent is not there, or not there yet.
pub(crate) const fn is_absent(error: &GraphError) -> bool {
    match error {
        GraphError::Forbidden { .. } => true,
        GraphError::Token(error) => {
            matches!(error.kind, TokenErrorKind::ConsentMissing | TokenErrorKind::ConsentRevoked)
        }
        _ => false,
    }
}
