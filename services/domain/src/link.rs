//! How a linked account fares, as its page tells it.

use serde::{Deserialize, Serialize};

use crate::request::words;

/// The state of a link. Only `connected` gives fresh facts; every other one names what Microsoft (or we) must change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The last request to Microsoft Graph went through.
    Connected,
    /// The tenant does not know Gatehouse's enterprise application.
    ConsentMissing,
    /// The tenant deleted Gatehouse's enterprise application.
    ConsentRevoked,
    /// "Enabled for users to sign in" was set to No on the enterprise application.
    DisabledByTenant,
    /// Tokens are issued, but the permission to read managed devices is not in them.
    PermissionMissing,
    /// The tenant has no active Intune subscription.
    NoIntune,
    /// A Conditional Access policy for workload identities keeps Gatehouse out.
    BlockedByCa,
    /// The tenant does not exist (any more).
    TenantGone,
    /// The tenant lives in another national cloud.
    WrongCloud,
    /// Gatehouse's own credential or registration is refused: the operator's fault, not the tenant's.
    CredentialFailing,
    /// Microsoft asks to slow down.
    Throttled,
    /// Microsoft does not answer, or not as documented.
    Unreachable,
}

words!(LinkState, "link state",
    LinkState::Connected => "connected", LinkState::ConsentMissing => "consent_missing",
    LinkState::ConsentRevoked => "consent_revoked", LinkState::DisabledByTenant => "disabled_by_tenant",
    LinkState::PermissionMissing => "permission_missing", LinkState::NoIntune => "no_intune",
    LinkState::BlockedByCa => "blocked_by_ca", LinkState::TenantGone => "tenant_gone",
    LinkState::WrongCloud => "wrong_cloud", LinkState::CredentialFailing => "credential_failing",
    LinkState::Throttled => "throttled", LinkState::Unreachable => "unreachable",
);

/// Whom a state asks to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionBy {
    Nobody,
    /// An administrator of the linked Entra tenant.
    TenantAdmin,
    /// Whoever runs Gatehouse.
    Operator,
}

/// A state in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStateWords {
    pub title: &'static str,
    pub cause: &'static str,
    pub remedy: &'static str,
    pub action_by: ActionBy,
}

impl LinkState {
    /// What it means and what to do about it, for people.
    #[must_use]
    pub const fn words(self) -> LinkStateWords {
        let (title, cause, remedy, action_by) = match self {
            Self::Connected => {
                ("Connected", "Microsoft Graph answers for this tenant.", "Nothing to do.", ActionBy::Nobody)
            }
            Self::ConsentMissing => (
                "Consent missing",
                "The tenant does not know Gatehouse's enterprise application: consent was never given there.",
                "Link the account again as a Global Administrator or Privileged Role Administrator of the tenant.",
                ActionBy::TenantAdmin,
            ),
            Self::ConsentRevoked => (
                "Consent revoked",
                "Gatehouse's enterprise application was deleted in the tenant.",
                "If that was not intended, link the account again as a Global Administrator or Privileged Role \
                 Administrator; otherwise unlink it here.",
                ActionBy::TenantAdmin,
            ),
            Self::DisabledByTenant => (
                "Disabled by the tenant",
                "Gatehouse's enterprise application is disabled in the tenant.",
                "In the Entra admin center, open Enterprise applications, Gatehouse, Properties, and set \
                 \"Enabled for users to sign-in\" to Yes.",
                ActionBy::TenantAdmin,
            ),
            Self::PermissionMissing => (
                "Permission missing",
                "Microsoft issues tokens, but they do not carry DeviceManagementManagedDevices.Read.All.",
                "Link the account again as a Global Administrator or Privileged Role Administrator and accept the \
                 permission. Right after consent it can take Microsoft some minutes to pass it on.",
                ActionBy::TenantAdmin,
            ),
            Self::NoIntune => (
                "No Intune",
                "The tenant has no active Microsoft Intune subscription, so there are no managed devices to read.",
                "Activate an Intune licence in the tenant, then choose Sync now.",
                ActionBy::TenantAdmin,
            ),
            Self::BlockedByCa => (
                "Blocked by Conditional Access",
                "A Conditional Access policy for workload identities refuses Gatehouse, most often by its IP address.",
                "In the Entra admin center, add Gatehouse's addresses to the policy's named locations, or exclude \
                 its enterprise application from the policy.",
                ActionBy::TenantAdmin,
            ),
            Self::TenantGone => (
                "Tenant gone",
                "Microsoft does not know this tenant any more.",
                "Unlink the account. If the tenant still exists, link it again.",
                ActionBy::TenantAdmin,
            ),
            Self::WrongCloud => (
                "Other national cloud",
                "The tenant lives in another Microsoft cloud than the one this Gatehouse talks to.",
                "Use a Gatehouse that is registered in the tenant's cloud, and unlink the account here.",
                ActionBy::Operator,
            ),
            Self::CredentialFailing => (
                "Gatehouse's credential is refused",
                "Microsoft refuses the certificate, secret or registration with which Gatehouse identifies itself. \
                 The tenant's consent is not affected.",
                "The operator renews the credential of the app registration. Syncing resumes by itself.",
                ActionBy::Operator,
            ),
            Self::Throttled => (
                "Slowed down by Microsoft",
                "Microsoft asked Gatehouse to send fewer requests for this tenant.",
                "Nothing to do: Gatehouse waits as long as it was asked to.",
                ActionBy::Nobody,
            ),
            Self::Unreachable => (
                "Microsoft does not answer",
                "Requests to Microsoft fail or time out.",
                "Nothing to do if Microsoft has an outage: Gatehouse keeps trying. If it lasts, the operator checks \
                 the network path to Microsoft.",
                ActionBy::Nobody,
            ),
        };
        LinkStateWords { title, cause, remedy, action_by }
    }

    /// Passes by itself, so that decisions and history need not alarm anybody yet.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_and_says_what_to_do() {
        for state in LinkState::ALL.iter().copied() {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            let words = state.words();
            assert!(!words.title.is_empty() && words.cause.ends_with('.') && words.remedy.ends_with('.'));
        }
    }
}
