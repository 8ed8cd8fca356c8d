//! The people of a tenant who can sign in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::roles::template;
use crate::clock::stable_guid;

/// The tenant that stands for personal Microsoft accounts.
pub const PERSONAL_ACCOUNTS: Uuid = Uuid::from_u128(0x9188040d_6c67_4c5b_b112_36a304b66dad);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    GlobalAdministrator,
    PrivilegedRoleAdministrator,
    CloudApplicationAdministrator,
    User,
    Guest,
}

impl Role {
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::GlobalAdministrator => "Global Administrator",
            Self::PrivilegedRoleAdministrator => "Privileged Role Administrator",
            Self::CloudApplicationAdministrator => "Cloud Application Administrator",
            Self::User => "User",
            Self::Guest => "Guest",
        }
    }

    /// Whether the role may consent to application permissions of Microsoft Graph. A Cloud Application
    /// Administrator may consent to those of any other API, and so may not here.
    #[must_use]
    pub const fn may_consent(self) -> bool {
        matches!(self, Self::GlobalAdministrator | Self::PrivilegedRoleAdministrator)
    }

    /// The `wids` claim.
    #[must_use]
    pub fn wids(self) -> Vec<&'static str> {
        match self {
            Self::GlobalAdministrator => vec![template::GLOBAL_ADMINISTRATOR, template::USER],
            Self::PrivilegedRoleAdministrator => {
                vec![template::PRIVILEGED_ROLE_ADMINISTRATOR, template::USER]
            }
            Self::CloudApplicationAdministrator => {
                vec![template::CLOUD_APPLICATION_ADMINISTRATOR, template::USER]
            }
            Self::User => vec![template::USER],
            Self::Guest => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: Uuid,
    pub display_name: String,
    pub user_principal_name: String,
    pub role: Role,
    /// For guests, the tenant that they come from.
    #[serde(default)]
    pub home_tenant: Option<Uuid>,
}

impl User {
    #[must_use]
    pub fn new(given_name: &str, surname: &str, domain: &str, role: Role) -> Self {
        let user_principal_name = format!("{}@{domain}", given_name.to_lowercase());
        Self {
            id: stable_guid(&user_principal_name),
            display_name: format!("{given_name} {surname}"),
            user_principal_name,
            role,
            home_tenant: None,
        }
    }

    /// The people that every tenant has.
    #[must_use]
    pub fn cast(domain: &str) -> Vec<Self> {
        let partner = "partner.example";
        let guest_name = format!("gus_{partner}#EXT#@{domain}");
        vec![
            Self::new("Ada", "Lindqvist", domain, Role::GlobalAdministrator),
            Self::new("Priya", "Raman", domain, Role::PrivilegedRoleAdministrator),
            Self::new("Cleo", "Alvarez", domain, Role::CloudApplicationAdministrator),
            Self::new("Umar", "Haddad", domain, Role::User),
            Self {
                id: stable_guid(&guest_name),
                display_name: "Gus Petrov".to_owned(),
                user_principal_name: guest_name,
                role: Role::Guest,
                home_tenant: Some(stable_guid(partner)),
            },
        ]
    }

    /// A person with a personal Microsoft account, who may use `/common` alone.
    #[must_use]
    pub fn personal() -> Self {
        Self {
            id: stable_guid("mallory@outlook.example"),
            display_name: "Mallory Webb".to_owned(),
            user_principal_name: "mallory@outlook.example".to_owned(),
            role: Role::User,
            home_tenant: None,
        }
    }

    /// What the sign-in page and its tests call the user: a guest is known by the name that they sign in with.
    #[must_use]
    pub fn sign_in_name(&self) -> String {
        match self.user_principal_name.split_once("#EXT#") {
            Some((name, domain)) => {
                let name = name.replacen('_', "@", 1);
                format!("{name} (guest of {})", domain.trim_start_matches('@'))
            }
            None => self.user_principal_name.clone(),
        }
    }

    /// The `sub` claim: pairwise, so that two applications cannot compare users.
    #[must_use]
    pub fn subject(&self, client_id: &str) -> String {
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{client_id}|{}", self.id).as_bytes(),
        );
        URL_SAFE_NO_PAD.encode(digest)
    }
}
