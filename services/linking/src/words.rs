//! Errors in words that say what to do.

use microsoft::{ConsentRefusal, ConsentRefusalKind, GraphError, TokenError, TokenErrorKind};

/// An error, for a page: what happened, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub title: String,
    pub cause: String,
    pub remedy: String,
    /// What Microsoft said, where it said something; for a support case.
    pub detail: Option<String>,
}

impl Words {
    pub(crate) fn new(title: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { title: title.to_owned(), cause: cause.into(), remedy: remedy.into(), detail: None }
    }

    pub(crate) fn with_detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.to_owned());
        self
    }

    /// The database did not answer.
    pub(crate) fn store() -> Self {
        Self::new(
            "Not saved",
            "Gatehouse's database did not answer.",
            "Try again in a moment. If it lasts, tell whoever runs this Gatehouse.",
        )
    }

    /// A refusal on the consent page.
    pub(crate) fn consent(refusal: &ConsentRefusal) -> Self {
        use ConsentRefusalKind as K;
        let words = match refusal.kind {
            K::Declined => Self::new(
                "Consent was not given",
                "The consent page was cancelled or declined. Nothing was linked.",
                "Link the account again and choose Accept when you want Gatehouse to read your managed devices.",
            ),
            K::NeedsAdmin => Self::new(
                "An administrator must consent",
                "Reading managed devices is a permission of the whole tenant, and your role may not grant it.",
                "Ask a Global Administrator or Privileged Role Administrator of the tenant to sign in to Gatehouse \
                 and link the account. Application Administrator is not enough for Microsoft Graph.",
            ),
            K::NoIntune => Self::no_intune(),
            K::Misconfigured => Self::new(
                "Gatehouse's registration is wrong",
                "Microsoft refuses Gatehouse's app registration.",
                "Tell whoever runs this Gatehouse: the registration must be multi-tenant, with this dashboard's \
                 redirect addresses and the permission DeviceManagementManagedDevices.Read.All.",
            ),
            K::Unavailable => Self::microsoft_away(),
            K::Malformed => Self::new(
                "That was no answer of Microsoft's",
                "The address that the browser came back to is incomplete or altered. Nothing was linked.",
                "Link the account again from Identity Providers.",
            ),
            K::Other => Self::new(
                "Consent failed",
                "Microsoft reports an error on its consent page. Nothing was linked.",
                "Link the account again. If it fails again, look the code up in Microsoft's documentation.",
            ),
        };
        words.with_detail(&refusal.detail)
    }

    /// A refusal of Graph, or of a token for it, while an account is linked.
    pub(crate) fn graph(error: &GraphError) -> Self {
        let words = match (error, error.link_state()) {
            (GraphError::NoIntune { .. }, _) => Self::no_intune(),
            (GraphError::Token(error), _) => return Self::token(error),
            (_, Some(state)) if !state.is_transient() => {
                let words = state.words();
                Self::new(words.title, words.cause, words.remedy)
            }
            _ => Self::microsoft_away(),
        };
        words.with_detail(&error.to_string())
    }

    /// A refusal of Entra ID.
    pub(crate) fn token(error: &TokenError) -> Self {
        use TokenErrorKind as K;
        let words = match (error.kind, error.link_state()) {
            (K::NoIntune, _) => Self::no_intune(),
            (K::Throttled | K::Unavailable, _) => Self::microsoft_away(),
            (K::PersonRefused, _) => Self::new(
                "Your tenant does not let you sign in",
                "Your account is disabled, not in this tenant, or kept out by a policy of your organization.",
                "Sign in with another work or school account, or ask your Entra administrator.",
            ),
            (K::CodeRefused, _) => Self::new(
                "The sign-in took too long",
                "Microsoft's code was used already or has expired.",
                "Sign in again.",
            ),
            (K::Protocol, _) => Self::new(
                "Microsoft's answer does not read",
                "Something between Gatehouse and Microsoft answers in its place, or Microsoft has trouble.",
                "Try again in a few minutes. If it lasts, tell whoever runs this Gatehouse.",
            ),
            (_, Some(state)) => {
                let words = state.words();
                Self::new(words.title, words.cause, words.remedy)
            }
            (_, None) => Self::microsoft_away(),
        };
        words.with_detail(&error.to_string())
    }

    fn no_intune() -> Self {
        Self::new(
            "No Intune in this tenant",
            "The tenant has no active Microsoft Intune subscription, so there are no managed devices to read.",
            "Activate an Intune licence in the tenant, or sign in with an account of the tenant that has it, and \
             link again.",
        )
    }

    fn microsoft_away() -> Self {
        Self::new(
            "Microsoft does not answer",
            "Microsoft did not answer, or asked for patience.",
            "Try again in a few minutes.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(words: &Words) {
        assert!(!words.title.is_empty() && !words.title.ends_with('.'), "{words:?}");
        assert!(words.cause.ends_with('.') && words.remedy.ends_with('.'), "{words:?}");
        assert!(words.detail.as_deref().is_none_or(|detail| !detail.is_empty()), "{words:?}");
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        use TokenErrorKind as K;
        for kind in [
            K::ConsentMissing,
            K::ConsentRevoked,
            K::DisabledByTenant,
            K::NoIntune,
            K::TenantGone,
            K::WrongCloud,
            K::BlockedByConditionalAccess,
            K::CredentialFailing,
            K::Misconfigured,
            K::PersonRefused,
            K::CodeRefused,
            K::Throttled,
            K::Unavailable,
            K::Protocol,
        ] {
            let error = TokenError { kind, code: None, detail: "AADSTS1: x".to_owned(), retry_after: None };
            complete(&Words::token(&error));
            complete(&Words::graph(&GraphError::Token(error)));
        }
        let detail = "x".to_owned();
        for error in [
            GraphError::Throttled { retry_after: None },
            GraphError::Unavailable { retry_after: None, detail: detail.clone() },
            GraphError::Unauthorized { detail: detail.clone() },
            GraphError::Forbidden { detail: detail.clone() },
            GraphError::NoIntune { detail: detail.clone() },
            GraphError::DirectoryForbidden { detail: detail.clone() },
            GraphError::DirectoryWithoutDelta { detail: detail.clone() },
            GraphError::PageExpired,
            GraphError::DeltaExpired,
            GraphError::FilterIgnored { property: "serialNumber" },
            GraphError::Unfinished { property: "serialNumber" },
            GraphError::BadRequest { detail: detail.clone() },
            GraphError::Protocol { detail },
        ] {
            complete(&Words::graph(&error));
        }
        use ConsentRefusalKind as C;
        for kind in [
            C::Declined,
            C::NeedsAdmin,
            C::NoIntune,
            C::Misconfigured,
            C::Unavailable,
            C::Malformed,
            C::Other,
        ] {
            complete(&Words::consent(&ConsentRefusal { kind, code: None, detail: "x".to_owned() }));
        }
        complete(&Words::store());
    }
}
