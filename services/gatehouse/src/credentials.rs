//! Keeps an eye on Gatehouse's own credentials at Microsoft: when they end, and whether Microsoft takes them.

use std::collections::HashMap;
use std::time::Duration;

use domain::time::SharedClock;
use microsoft::{CredentialStatus, MicrosoftClouds};
use opentelemetry::metrics::Gauge;
use opentelemetry::{KeyValue, global};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Files of credentials are read again at most once a minute.
const EVERY: Duration = Duration::from_secs(60);
/// Days before the end of the last credential at which somebody is told.
const WARN_DAYS: [i64; 3] = [1, 7, 30];

/// Watches until `shutdown`.
pub async fn watch(clouds: MicrosoftClouds, clock: SharedClock, shutdown: CancellationToken) {
    let gauges = Gauges::new();
    let mut warned = HashMap::new();
    loop {
        for microsoft in clouds.iter() {
            microsoft.refresh_credentials().await;
            let (cloud, now) = (microsoft.cloud().name().as_str(), clock.now());
            let credentials = microsoft.credentials();
            gauges.set(cloud, &credentials, now);
            let level = last_days(&credentials, now).and_then(level);
            if let Some(level) = level
                && warned.insert(cloud, level) != Some(level)
            {
                warn(cloud, microsoft.client_id(), &credentials, now);
            }
            if level.is_none() {
                warned.remove(cloud);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

struct Gauges {
    expiry: Gauge<f64>,
    refused: Gauge<u64>,
}

impl Gauges {
    fn new() -> Self {
        let meter = global::meter("gatehouse");
        Self {
            expiry: meter
                .f64_gauge("gatehouse.microsoft.credential.expiry")
                .with_unit("s")
                .with_description("Until a certificate of Gatehouse's own app registration ends")
                .build(),
            refused: meter
                .u64_gauge("gatehouse.microsoft.credential.refused")
                .with_description("Whether Microsoft refused a credential since it last took it, as 1 or 0")
                .build(),
        }
    }

    fn set(&self, cloud: &'static str, credentials: &[CredentialStatus], now: OffsetDateTime) {
        for one in credentials {
            // As the portal names it, where it is looked up.
            let thumbprint = one.portal_thumbprint.clone().unwrap_or_else(|| "secret".to_owned());
            let labels = [KeyValue::new("cloud", cloud), KeyValue::new("thumbprint", thumbprint)];
            if let Some(end) = one.not_after {
                self.expiry.record((end - now).as_seconds_f64(), &labels);
            }
            self.refused.record(u64::from(one.refused), &labels);
        }
    }
}

/// Days until the app has no valid certificate any more; `None` where a secret serves, whose end Microsoft alone knows.
fn last_days(credentials: &[CredentialStatus], now: OffsetDateTime) -> Option<i64> {
    let days: Option<Vec<_>> = credentials.iter().map(|one| one.days_left(now)).collect();
    days?.into_iter().max()
}

/// The threshold that was passed.
fn level(days: i64) -> Option<i64> {
    WARN_DAYS.into_iter().find(|level| days < *level)
}

fn warn(cloud: &str, client_id: uuid::Uuid, credentials: &[CredentialStatus], now: OffsetDateTime) {
    let last = credentials.iter().max_by_key(|one| one.not_after);
    let thumbprint = last.and_then(|one| one.portal_thumbprint.as_deref()).unwrap_or_default();
    let days = last_days(credentials, now).unwrap_or_default();
    tracing::warn!(
        cloud,
        %client_id,
        thumbprint,
        days,
        "the app registration's last certificate ends soon: upload a new one in Entra ID and name it beside the \
         present one in GATEHOUSE_MICROSOFT_CLIENT_CERTIFICATE_FILE"
    );
}

#[cfg(test)]
mod tests {
    use microsoft::CredentialKind;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn ending(not_after: Option<OffsetDateTime>) -> CredentialStatus {
        CredentialStatus {
            kind: CredentialKind::Certificate,
            thumbprint: None,
            portal_thumbprint: None,
            not_before: None,
            not_after,
            last_accepted_at: None,
            last_refused: None,
            refused: false,
            preferred: false,
        }
    }

    #[test]
    fn the_last_to_end_is_the_one_that_counts() {
        let days = |n| ending(Some(NOW + time::Duration::days(n)));
        assert_eq!(last_days(&[days(3), days(200), days(-1)], NOW), Some(200));
        assert_eq!(last_days(&[days(3), ending(None)], NOW), None, "a secret serves");
        assert_eq!(last_days(&[], NOW), None);
        for (left, passed) in [
            (200, None),
            (30, None),
            (29, Some(30)),
            (7, Some(30)),
            (6, Some(7)),
            (0, Some(1)),
            (-5, Some(1)),
        ] {
            assert_eq!(level(left), passed, "{left}");
        }
    }
}
