//! App roles and directory roles by the ids that Microsoft publishes.

/// Graph's app id; its app roles are what admin consent grants.
pub const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";
pub const GRAPH_RESOURCE: &str = "https://graph.microsoft.com";
pub const INTUNE_API_RESOURCE: &str = "https://api.manage.microsoft.com";

pub const MANAGED_DEVICES_READ: &str = "DeviceManagementManagedDevices.Read.All";
pub const MANAGED_DEVICES_READ_WRITE: &str = "DeviceManagementManagedDevices.ReadWrite.All";
pub const DEVICE_READ: &str = "Device.Read.All";
pub const DIRECTORY_READ: &str = "Directory.Read.All";
pub const ORGANIZATION_READ: &str = "Organization.Read.All";
pub const APPLICATION_READ: &str = "Application.Read.All";
pub const SERVICE_PRINCIPAL_ENDPOINT_READ: &str = "ServicePrincipalEndpoint.Read.All";
pub const USER_READ: &str = "User.Read.All";
/// Role of the Intune API for network access control.
pub const DEVICE_COMPLIANCE: &str = "get_device_compliance";

/// The app roles of the default registration: what Gatehouse asks its customers for.
pub const DEFAULT_MANIFEST: &[&str] = &[MANAGED_DEVICES_READ, DEVICE_READ, ORGANIZATION_READ];

/// App roles of the Intune API; all others are Graph's.
#[must_use]
pub fn is_intune_api_role(role: &str) -> bool {
    role == DEVICE_COMPLIANCE
}

/// Directory-role template ids: the values of the `wids` claim.
pub mod template {
    pub const GLOBAL_ADMINISTRATOR: &str = "62e90394-69f5-4237-9190-012177145e10";
    pub const PRIVILEGED_ROLE_ADMINISTRATOR: &str = "e8611ab8-c189-46e8-94e1-60213ab1f814";
    pub const CLOUD_APPLICATION_ADMINISTRATOR: &str = "158c047a-c907-4556-b7ef-446551a6b5f7";
    /// What every member carries, whatever else.
    pub const USER: &str = "b79fbf4d-3ef9-4689-8143-76b194e85509";
}
