//! The addresses of remediation pages, put into answers on their way out.
//!
//! A decision says that its client is to be led to Gatehouse's page, and no more; the address is made here, from the
//! session, after the decision was recorded. So two decisions that lead there are equal, whatever their addresses are.

use std::sync::Once;
use std::time::Duration;

use domain::decision::Outcome;
use domain::time::SharedClock;
use domain::{Mac, OrgId, SessionId};
use sealing::{PageKeys, PageToken};

/// Where the pages are, and what makes their addresses.
#[derive(Clone, Debug)]
pub struct RemediationPages {
    /// A page's address is this, and the token behind it.
    pub base: String,
    pub keys: PageKeys,
    /// An address is good for this long.
    pub lifetime: Duration,
}

/// Makes addresses, where the deployment has a key.
pub struct Pages {
    pages: Option<RemediationPages>,
    clock: SharedClock,
    missed: Once,
}

impl Pages {
    pub const fn new(pages: Option<RemediationPages>, clock: SharedClock) -> Self {
        Self { pages, clock, missed: Once::new() }
    }

    /// Puts the client's address into an outcome that leads to Gatehouse's page. Without a key the redirect is left
    /// out; what else the outcome gives, its VLAN above all, holds.
    pub fn lead(&self, outcome: &mut Outcome, org: OrgId, session: SessionId, mac: Option<Mac>) {
        if outcome.leads_to_remediation() {
            outcome.lead_to(self.address(org, session, mac));
        }
    }

    fn address(&self, org: OrgId, session: SessionId, mac: Option<Mac>) -> Option<String> {
        let Some(pages) = &self.pages else {
            self.missed.call_once(|| {
                tracing::warn!(
                    %org,
                    "a policy leads clients to the remediation page, and GATEHOUSE_REMEDIATION_KEY is not set: the \
                     redirect is left out of answers"
                );
            });
            return None;
        };
        let token = PageToken { org, session, mac, expires_at: self.clock.now() + pages.lifetime };
        match pages.keys.write(&token) {
            Ok(token) => Some(format!("{}{token}", pages.base)),
            Err(error) => {
                tracing::error!(%org, %session, %error, "a remediation page got no address; the redirect is left out");
                None
            }
        }
    }
}
