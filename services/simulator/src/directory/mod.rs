//! Tenants, their users, and the applications that they have consented to.

pub mod app;
pub mod principal;
pub mod roles;
pub mod tenant;
pub mod user;

pub use app::{App, Certificate, Secret};
pub use principal::{PrincipalState, ServicePrincipal};
pub use tenant::Tenant;
pub use user::User;
