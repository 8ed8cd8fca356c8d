//! The remediation pages: where clients are led that a policy does not let in as they are.

use std::time::Duration;

use sealing::{KeyListError, PAGE_TOKEN_CHARS, PageKeys};
use url::Url;

use super::reader::Reader;

/// What a RADIUS attribute holds beside what a vendor writes before an address (`url-redirect=`).
const ADDRESS_CHARS_MAX: usize = 247 - "url-redirect=".len();

/// Of the roles nac, which makes addresses, and dashboard, which has the pages.
#[derive(Clone, Debug)]
pub struct RemediationConfig {
    pub keys: PageKeys,
    pub lifetime: Duration,
}

pub(super) fn read(reader: &mut Reader) -> Option<RemediationConfig> {
    let hours: u64 = reader.number(
        "REMEDIATION_LINK_HOURS",
        168,
        &(1..=8_760),
        "how long a client's address of its remediation page is good; each decision gives a new one",
    );
    let setting = reader.secret(
        "REMEDIATION_KEY",
        "32 bytes in base64 (gatehouse remediation-key new), the same for the roles nac and dashboard: protects the \
         addresses of clients' remediation pages; a list with commas while it is changed, the new one first. Without \
         it the redirect to these pages is left out of answers",
    )?;
    let told = |error: KeyListError| format!("{error}: make one with gatehouse remediation-key new");
    let keys =
        PageKeys::parse(&setting).map_err(|error| reader.problem("REMEDIATION_KEY", told(error))).ok()?;
    Some(RemediationConfig { keys, lifetime: Duration::from_secs(hours * 3_600) })
}

/// Checks that addresses can be made: `public_url` is where the dashboard is, for browsers.
pub(super) fn check(reader: &mut Reader, public_url: Option<&Url>, has_dashboard: bool) {
    match public_url {
        None if !has_dashboard => reader.problem(
            "PUBLIC_URL",
            "is missing: with GATEHOUSE_REMEDIATION_KEY the role nac leads clients to pages there. Set it to where \
             browsers reach the dashboard",
        ),
        Some(url) if url.as_str().len() + web::REMEDIATION_PATH.len() + PAGE_TOKEN_CHARS > ADDRESS_CHARS_MAX => {
            reader.problem(
                "PUBLIC_URL",
                "is too long: an address of a remediation page would not fit into a RADIUS attribute of 247 bytes. \
                 Use a shorter host name",
            );
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Sources};
    use crate::roles::{Role, Roles};

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn read(roles: Roles, more: &[(&str, &str)]) -> Result<Option<u64>, String> {
        let settings = [
            ("DATABASE_URL", "postgres://app:pw@db/gatehouse"),
            ("REDIS_URL", "redis://cache"),
            ("MICROSOFT_CLIENT_ID", "5b1d0c55-9a7e-4f3c-8a51-6a7e40053000"),
            ("MICROSOFT_CLIENT_SECRET", "hunter2"),
        ];
        let checked = Config::read(Sources::of(settings.iter().chain(more).copied()), roles);
        let config = checked.map_err(|error| error.to_string())?.config;
        Ok(config.remediation.map(|remediation| remediation.lifetime.as_secs()))
    }

    #[test]
    fn addresses_are_made_where_they_fit_and_lead_somewhere() {
        let nac: Roles = [Role::Nac].into_iter().collect();
        assert_eq!(read(Roles::ALL, &[]), Ok(None));
        assert_eq!(read(Roles::ALL, &[("REMEDIATION_KEY", KEY)]), Ok(Some(7 * 86_400)));
        let error = read(nac, &[("REMEDIATION_KEY", KEY)]).unwrap_err();
        assert!(error.contains("GATEHOUSE_PUBLIC_URL: is missing"), "{error}");
        let url = ("PUBLIC_URL", "https://gatehouse.example");
        let hour = ("REMEDIATION_LINK_HOURS", "1");
        assert_eq!(read(nac, &[("REMEDIATION_KEY", KEY), url, hour]), Ok(Some(3_600)));
        let host = format!("https://{}.example", ["x".repeat(60), "y".repeat(60), "z".repeat(60)].join("."));
        let error = read(Roles::ALL, &[("REMEDIATION_KEY", KEY), ("PUBLIC_URL", &host)]).unwrap_err();
        assert!(error.contains("GATEHOUSE_PUBLIC_URL: is too long"), "{error}");
        // Without a key nobody is led there.
        assert_eq!(read(Roles::ALL, &[("PUBLIC_URL", &host)]), Ok(None));
        let error = read(Roles::ALL, &[("REMEDIATION_KEY", "c2hvcnQ=")]).unwrap_err();
        assert!(error.contains("gatehouse remediation-key new") && !error.contains("c2hvcnQ="), "{error}");
    }
}
