//! The properties of `managedDevice` in the v1.0 schema, in the order in which the service writes them, and the
//! values they may take.

use std::borrow::Cow;

use time::{OffsetDateTime, macros::datetime};

macro_rules! properties {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A property of `managedDevice`, in wire order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Property { $($variant),* }

        impl Property {
            pub const ALL: &'static [Property] = &[$(Property::$variant),*];

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Property::$variant => $name),* }
            }
        }
    };
}

properties! {
    Id = "id",
    UserId = "userId",
    DeviceName = "deviceName",
    ManagedDeviceOwnerType = "managedDeviceOwnerType",
    EnrolledDateTime = "enrolledDateTime",
    LastSyncDateTime = "lastSyncDateTime",
    OperatingSystem = "operatingSystem",
    ComplianceState = "complianceState",
    JailBroken = "jailBroken",
    ManagementAgent = "managementAgent",
    OsVersion = "osVersion",
    EasActivated = "easActivated",
    EasDeviceId = "easDeviceId",
    EasActivationDateTime = "easActivationDateTime",
    AzureAdRegistered = "azureADRegistered",
    DeviceEnrollmentType = "deviceEnrollmentType",
    ActivationLockBypassCode = "activationLockBypassCode",
    EmailAddress = "emailAddress",
    AzureAdDeviceId = "azureADDeviceId",
    DeviceRegistrationState = "deviceRegistrationState",
    DeviceCategoryDisplayName = "deviceCategoryDisplayName",
    IsSupervised = "isSupervised",
    ExchangeLastSuccessfulSyncDateTime = "exchangeLastSuccessfulSyncDateTime",
    ExchangeAccessState = "exchangeAccessState",
    ExchangeAccessStateReason = "exchangeAccessStateReason",
    RemoteAssistanceSessionUrl = "remoteAssistanceSessionUrl",
    RemoteAssistanceSessionErrorDetails = "remoteAssistanceSessionErrorDetails",
    IsEncrypted = "isEncrypted",
    UserPrincipalName = "userPrincipalName",
    Model = "model",
    Manufacturer = "manufacturer",
    Imei = "imei",
    ComplianceGracePeriodExpirationDateTime = "complianceGracePeriodExpirationDateTime",
    SerialNumber = "serialNumber",
    PhoneNumber = "phoneNumber",
    AndroidSecurityPatchLevel = "androidSecurityPatchLevel",
    UserDisplayName = "userDisplayName",
    ConfigurationManagerClientEnabledFeatures = "configurationManagerClientEnabledFeatures",
    WiFiMacAddress = "wiFiMacAddress",
    DeviceHealthAttestationState = "deviceHealthAttestationState",
    SubscriberCarrier = "subscriberCarrier",
    Meid = "meid",
    TotalStorageSpaceInBytes = "totalStorageSpaceInBytes",
    FreeStorageSpaceInBytes = "freeStorageSpaceInBytes",
    ManagedDeviceName = "managedDeviceName",
    PartnerReportedThreatState = "partnerReportedThreatState",
    RequireUserEnrollmentApproval = "requireUserEnrollmentApproval",
    ManagementCertificateExpirationDate = "managementCertificateExpirationDate",
    Iccid = "iccid",
    Udid = "udid",
    Notes = "notes",
    EthernetMacAddress = "ethernetMacAddress",
    PhysicalMemoryInBytes = "physicalMemoryInBytes",
    EnrollmentProfileName = "enrollmentProfileName",
    DeviceActionResults = "deviceActionResults",
    ManagementState = "managementState",
}

impl Property {
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|property| property.name() == name)
    }

    #[must_use]
    pub const fn is_time(self) -> bool {
        matches!(
            self,
            Self::EnrolledDateTime
                | Self::LastSyncDateTime
                | Self::EasActivationDateTime
                | Self::ExchangeLastSuccessfulSyncDateTime
                | Self::ComplianceGracePeriodExpirationDateTime
                | Self::ManagementCertificateExpirationDate
        )
    }

    /// What LIST writes instead of the value: these seven are known only to the single GET
    /// (CSDL descriptions; graph-docs issue 19108).
    #[must_use]
    pub const fn hidden_in_list(self) -> Option<Scalar<'static>> {
        match self {
            Self::EthernetMacAddress
            | Self::Udid
            | Self::Iccid
            | Self::Notes
            | Self::ActivationLockBypassCode
            | Self::RemoteAssistanceSessionUrl => Some(Scalar::Null),
            Self::PhysicalMemoryInBytes => Some(Scalar::Int(0)),
            _ => None,
        }
    }

    /// Whether LIST writes "" where the value is missing; the others are null there.
    #[must_use]
    pub const fn is_empty_text_in_list(self) -> bool {
        matches!(
            self,
            Self::UserId
                | Self::DeviceName
                | Self::OperatingSystem
                | Self::OsVersion
                | Self::EasDeviceId
                | Self::EmailAddress
                | Self::AzureAdDeviceId
                | Self::DeviceCategoryDisplayName
                | Self::UserPrincipalName
                | Self::Model
                | Self::Manufacturer
                | Self::Imei
                | Self::SerialNumber
                | Self::PhoneNumber
                | Self::AndroidSecurityPatchLevel
                | Self::UserDisplayName
                | Self::WiFiMacAddress
                | Self::SubscriberCarrier
                | Self::Meid
                | Self::ManagedDeviceName
        )
    }

    /// Sent only when `$select` names it: recorded v1.0 payloads of 2024 and 2025 lack it although the schema
    /// of 2026-08 has it.
    #[must_use]
    pub const fn only_when_selected(self) -> bool {
        matches!(self, Self::ManagementState)
    }
}

/// "Never": what the service writes for a time that has not happened.
pub const NEVER: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
/// "No grace period": the service writes `9999-12-31T23:59:59Z` or `…59.9999999Z`.
pub const NO_GRACE: OffsetDateTime = datetime!(9999-12-31 23:59:59.9999999 UTC);
/// Both sentinels: times that stand for none.
pub const NEVER_OR_NO_GRACE: [OffsetDateTime; 2] = [NEVER, NO_GRACE];
/// What a device without an Entra identity carries as `azureADDeviceId`.
pub const NO_ENTRA_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The value of one property.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Time(OffsetDateTime),
    Json(serde_json::Value),
}

impl Scalar<'_> {
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text.into_owned(),
            _ => String::new(),
        }
    }
}

impl From<&'static str> for Scalar<'_> {
    fn from(text: &'static str) -> Self {
        Scalar::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Scalar<'_> {
    fn from(text: String) -> Self {
        Scalar::Text(Cow::Owned(text))
    }
}

/// How many digits of a second a reader gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// LIST: `2024-07-01T23:17:06Z`.
    Seconds,
    /// Single GET: up to seven digits, `2024-07-01T23:17:06.1234567Z`.
    Ticks,
}

/// RFC 3339 in UTC, as Graph writes it.
#[must_use]
pub fn timestamp(at: OffsetDateTime, precision: Precision) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let ticks = at.nanosecond() / 100;
    if precision == Precision::Ticks && ticks > 0 {
        let digits = format!("{ticks:07}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Parses what [`timestamp`] writes, and any other RFC 3339 text.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_second_precision_in_list_and_up_to_seven_digits_in_single() {
        let at = datetime!(2024-07-01 23:17:06.1234567 UTC);
        assert_eq!(timestamp(at, Precision::Seconds), "2024-07-01T23:17:06Z");
        assert_eq!(timestamp(at, Precision::Ticks), "2024-07-01T23:17:06.1234567Z");
        assert_eq!(timestamp(NEVER, Precision::Ticks), "0001-01-01T00:00:00Z");
        assert_eq!(timestamp(NO_GRACE, Precision::Seconds), "9999-12-31T23:59:59Z");
        assert_eq!(timestamp(NO_GRACE, Precision::Ticks), "9999-12-31T23:59:59.9999999Z");
        assert_eq!(parse_timestamp("9999-12-31T23:59:59.9999999Z"), Some(NO_GRACE));
    }
}
