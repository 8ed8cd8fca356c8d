//! A fleet as a function: every property of device number `n` follows from the tenant's seed and `n`, and is
//! computed when someone reads it. Nothing is stored for a device that nobody has changed.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    catalogue::{FIRST_NAMES, Hardware, LAST_NAMES, Platform, SHARED_DOCK_MAC},
    permutation::{guid_of, index_in, mix, permute},
    property::{NEVER, NO_ENTRA_ID, NO_GRACE, Property, Scalar},
};

/// Each generated property draws from its own stream, so that adding one leaves the others as they were.
mod stream {
    pub const INTUNE_ID: u64 = 1;
    pub const ENTRA_DEVICE_ID: u64 = 2;
    pub const ENTRA_OBJECT_ID: u64 = 3;
    pub const USER_ID: u64 = 4;
    pub const PLATFORM: u64 = 5;
    pub const HARDWARE: u64 = 6;
    pub const OWNER: u64 = 7;
    pub const COMPLIANCE: u64 = 8;
    pub const ENROLLED: u64 = 9;
    pub const CHECK_IN: u64 = 10;
    pub const SERIAL: u64 = 11;
    pub const WIFI_MAC: u64 = 12;
    pub const ETHERNET_MAC: u64 = 13;
    pub const QUIRK: u64 = 14;
    pub const STORAGE: u64 = 15;
    pub const VERSION: u64 = 16;
    pub const NAME: u64 = 17;
    pub const MISC: u64 = 18;
}

/// Check-ins come about every eight hours (Intune's maintenance schedule).
const CHECK_IN_SECONDS: u64 = 8 * 3_600;

/// The recipe of one tenant's generated devices.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Recipe {
    pub seed: u64,
    /// The domain of the devices' users.
    pub domain: String,
    /// When the fleet came into being: the instant from which times of check-in and grace are counted.
    #[serde(with = "time::serde::rfc3339")]
    pub epoch: OffsetDateTime,
    /// How many devices there are, generated and added.
    pub count: u64,
}

impl Recipe {
    fn draw(&self, index: u64, stream: u64) -> u64 {
        mix(self.seed, index, stream)
    }

    fn key(&self, stream: u64) -> u64 {
        mix(self.seed, u64::MAX, stream)
    }

    #[must_use]
    pub fn intune_id(&self, index: u64) -> Uuid {
        guid_of(index, self.key(stream::INTUNE_ID))
    }

    #[must_use]
    pub fn index_of_intune_id(&self, id: Uuid) -> Option<u64> {
        index_in(id, self.key(stream::INTUNE_ID)).filter(|index| *index < self.count)
    }

    /// The Entra device id (`deviceId`, `azureADDeviceId`); `None` where the device is not in Entra.
    #[must_use]
    pub fn entra_device_id(&self, index: u64) -> Option<Uuid> {
        let absent = index >= 20 && self.draw(index, stream::QUIRK).is_multiple_of(97);
        (!absent).then(|| guid_of(index, self.key(stream::ENTRA_DEVICE_ID)))
    }

    #[must_use]
    pub fn index_of_entra_device_id(&self, id: Uuid) -> Option<u64> {
        index_in(id, self.key(stream::ENTRA_DEVICE_ID))
            .filter(|index| *index < self.count && self.entra_device_id(*index).is_some())
    }

    #[must_use]
    pub fn entra_object_id(&self, index: u64) -> Uuid {
        guid_of(index, self.key(stream::ENTRA_OBJECT_ID))
    }

    #[must_use]
    pub fn index_of_entra_object_id(&self, id: Uuid) -> Option<u64> {
        index_in(id, self.key(stream::ENTRA_OBJECT_ID)).filter(|index| *index < self.count)
    }

    #[must_use]
    pub fn platform(&self, index: u64) -> Platform {
        match index {
            // The first twenty carry the special states below, so their platforms stay put too.
            0..5 => Platform::Windows,
            5 => Platform::Ios,
            6 => Platform::MacOs,
            8 => Platform::Android,
            _ => Platform::drawn(self.draw(index, stream::PLATFORM) % 100),
        }
    }

    fn hardware(&self, index: u64) -> &'static Hardware {
        pick(self.platform(index).hardware(), self.draw(index, stream::HARDWARE))
    }

    /// The state that the device was generated with. Seven of the first twenty are fixed, so that even the
    /// smallest fleet shows every state.
    #[must_use]
    pub fn compliance(&self, index: u64) -> &'static str {
        match index {
            3 => "noncompliant",
            7 => "inGracePeriod",
            11 => "unknown",
            13 => "error",
            17 => "conflict",
            19 => "configManager",
            0..20 => "compliant",
            _ => match self.draw(index, stream::COMPLIANCE) % 1_000 {
                0..840 => "compliant",
                840..920 => "noncompliant",
                920..950 => "inGracePeriod",
                950..975 => "unknown",
                975..988 => "error",
                988..994 => "conflict",
                _ => "configManager",
            },
        }
    }

    /// When the generated grace period ends; [`NO_GRACE`] for devices that have none.
    #[must_use]
    pub fn grace_expiry(&self, index: u64) -> OffsetDateTime {
        if self.compliance(index) != "inGracePeriod" {
            return NO_GRACE;
        }
        let seconds = 86_400 + self.draw(index, stream::MISC) % (13 * 86_400);
        self.epoch + whole_seconds(seconds)
    }

    fn last_sync(&self, index: u64, now: OffsetDateTime) -> OffsetDateTime {
        let draw = self.draw(index, stream::CHECK_IN);
        let ticks = Duration::nanoseconds(i64::try_from(draw % 10_000_000).unwrap_or(0) * 100);
        if self.compliance(index) == "noncompliant" && draw.is_multiple_of(3) {
            // Not seen for longer than the validity period of 30 days: why Intune calls it noncompliant.
            return self.epoch - Duration::days(31) - whole_seconds(draw % (60 * 86_400)) + ticks;
        }
        let phase = draw % CHECK_IN_SECONDS;
        let since = u64::try_from((now - self.epoch).whole_seconds().max(0)).unwrap_or(0) + phase;
        let rounds = since / CHECK_IN_SECONDS;
        self.epoch + whole_seconds(rounds * CHECK_IN_SECONDS) - whole_seconds(phase) + ticks
    }

    fn enrolled(&self, index: u64) -> OffsetDateTime {
        let draw = self.draw(index, stream::ENROLLED);
        self.epoch - Duration::days(40) - whole_seconds(draw % (900 * 86_400))
            + Duration::nanoseconds(i64::try_from(draw % 10_000_000).unwrap_or(0) * 100)
    }

    /// The number of the user who enrolled the device; `None` for shared and userless ones.
    fn owner(&self, index: u64) -> Option<u64> {
        let draw = self.draw(index, stream::OWNER);
        let users = (self.count.min(1 << 20) * 3 / 4).max(1);
        (!draw.is_multiple_of(53) || index < 20).then_some(draw % users)
    }

    fn owner_names(&self, index: u64) -> Option<(&'static str, &'static str, u64)> {
        let owner = self.owner(index)?;
        let people = (FIRST_NAMES.len() * LAST_NAMES.len()) as u64;
        let person = permute::<6>(owner % 1_024, self.seed) % people;
        Some((
            *pick(FIRST_NAMES, person),
            *pick(LAST_NAMES, person / FIRST_NAMES.len() as u64 + owner % 7),
            owner,
        ))
    }

    fn user_principal_name(&self, index: u64) -> String {
        self.owner_names(index).map_or_else(String::new, |(first, last, owner)| {
            format!("{}.{}{}@{}", first.to_lowercase(), last.to_lowercase(), owner, self.domain)
        })
    }

    fn user_display_name(&self, index: u64) -> String {
        self.owner_names(index).map_or_else(String::new, |(first, last, _)| format!("{first} {last}"))
    }

    fn user_id(&self, index: u64) -> String {
        self.owner(index)
            .map_or_else(String::new, |owner| guid_of(owner, self.key(stream::USER_ID)).to_string())
    }

    fn device_name(&self, index: u64) -> String {
        let first = self.owner_names(index).map_or("Shared", |(first, ..)| first);
        match self.platform(index) {
            Platform::Windows if self.hardware(index).model.starts_with("OptiPlex") => {
                let prefix = self.domain.split('.').next().unwrap_or("corp").to_uppercase();
                format!("{}-WS-{index:05}", prefix.get(..prefix.len().min(6)).unwrap_or("CORP"))
            }
            Platform::Windows => {
                format!("LAPTOP-{}", base_36(permute::<18>(index, self.key(stream::NAME)), 7))
            }
            // People name several devices alike: a name identifies only where it is unique in the tenant.
            Platform::Ios if self.hardware(index).model.starts_with("iPad") => {
                format!("{first}\u{2019}s iPad")
            }
            Platform::Ios => format!("{first}'s iPhone"),
            Platform::MacOs => {
                format!("{first}s-{}-{index}", self.hardware(index).model.replace(' ', "-"))
            }
            Platform::Android => {
                format!(
                    "{}_AndroidForWork_{}",
                    first.to_lowercase(),
                    self.draw(index, stream::NAME) % 100_000
                )
            }
            Platform::Linux => format!("{}-ubuntu-{index}", first.to_lowercase()),
        }
    }

    fn serial(&self, index: u64) -> String {
        let draw = self.draw(index, stream::QUIRK) % 1_000;
        match draw {
            0..8 if index >= 20 => String::new(),
            8..14 if index >= 20 => "0".to_owned(),
            _ => {
                let (prefix, length) = self.hardware(index).serial;
                let rest = length - prefix.len();
                format!("{prefix}{}", base_36(permute::<24>(index, self.key(stream::SERIAL)), rest))
            }
        }
    }

    fn wifi_mac(&self, index: u64) -> String {
        let draw = self.draw(index, stream::QUIRK) % 1_000;
        let suffix = permute::<12>(index % (1 << 24), self.key(stream::WIFI_MAC));
        match draw {
            // No adapter, or never reported.
            20..40 if index >= 20 => String::new(),
            // A randomized address: the locally administered bit is set.
            40..50 if index >= 20 => format!("DA{:04X}{suffix:06X}", draw % 0xFFFF),
            _ => format!("{:06X}{suffix:06X}", self.hardware(index).oui),
        }
    }

    fn ethernet_mac(&self, index: u64) -> Option<String> {
        let draw = self.draw(index, stream::ETHERNET_MAC);
        let wired = matches!(self.platform(index), Platform::Windows | Platform::MacOs | Platform::Linux);
        match draw % 100 {
            0..3 if wired && index >= 20 => Some(SHARED_DOCK_MAC.to_owned()),
            0..70 if wired => {
                let suffix = permute::<12>(index % (1 << 24), self.key(stream::ETHERNET_MAC));
                Some(format!("A0CEC8{suffix:06X}"))
            }
            _ => None,
        }
    }

    fn mobile(&self, index: u64) -> bool {
        matches!(self.platform(index), Platform::Ios | Platform::Android)
    }

    fn personal(&self, index: u64) -> bool {
        self.draw(index, stream::MISC) % 100 < 14
    }

    /// One property of device `index`, as the service would know it at `now`.
    #[must_use]
    pub fn property(&self, index: u64, property: Property, now: OffsetDateTime) -> Scalar<'static> {
        let platform = self.platform(index);
        let misc = self.draw(index, stream::MISC);
        // A kiosk of the kind that Graph's own schema does not list: readers must take unknown enum values.
        let aosp = platform == Platform::Android && self.hardware(index).manufacturer.starts_with("Zebra");
        match property {
            Property::Id => self.intune_id(index).to_string().into(),
            Property::UserId => self.user_id(index).into(),
            Property::DeviceName => self.device_name(index).into(),
            Property::ManagedDeviceOwnerType => match misc % 100 {
                0..14 => "personal".into(),
                99 => "unknown".into(),
                _ => "company".into(),
            },
            Property::EnrolledDateTime => Scalar::Time(self.enrolled(index)),
            Property::LastSyncDateTime => Scalar::Time(self.last_sync(index, now)),
            Property::OperatingSystem => platform.operating_system().into(),
            Property::ComplianceState => self.compliance(index).into(),
            Property::JailBroken => match (platform, misc % 250) {
                (Platform::Ios | Platform::Android, 0) => "True".into(),
                (Platform::Ios | Platform::Android, _) => "False".into(),
                _ => "Unknown".into(),
            },
            Property::ManagementAgent => match self.compliance(index) {
                "configManager" => "configurationManagerClientMdm".into(),
                _ if aosp => "intuneAosp".into(),
                _ => "mdm".into(),
            },
            Property::OsVersion => (*pick(platform.versions(), self.draw(index, stream::VERSION))).into(),
            Property::EasActivated => Scalar::Bool(platform == Platform::Windows),
            Property::EasDeviceId => {
                if platform == Platform::Windows {
                    format!("{misc:016X}{misc:016X}").into()
                } else {
                    "".into()
                }
            }
            Property::EasActivationDateTime | Property::ExchangeLastSuccessfulSyncDateTime => {
                Scalar::Time(NEVER)
            }
            Property::AzureAdRegistered => Scalar::Bool(self.entra_device_id(index).is_some()),
            Property::DeviceEnrollmentType => match platform {
                _ if aosp => "androidAOSPUserOwnedDeviceEnrollment".into(),
                Platform::Windows if self.compliance(index) == "configManager" => {
                    "windowsCoManagement".into()
                }
                Platform::Windows => "windowsAzureADJoin".into(),
                Platform::Ios if self.personal(index) => "appleUserEnrollment".into(),
                Platform::Ios | Platform::MacOs => "appleBulkWithUser".into(),
                Platform::Android | Platform::Linux => "userEnrollment".into(),
            },
            Property::EmailAddress | Property::UserPrincipalName => self.user_principal_name(index).into(),
            Property::AzureAdDeviceId => {
                self.entra_device_id(index).map_or_else(|| NO_ENTRA_ID.into(), |id| id.to_string().into())
            }
            Property::DeviceRegistrationState => "registered".into(),
            Property::DeviceCategoryDisplayName => if misc.is_multiple_of(2) { "Unknown" } else { "" }.into(),
            Property::IsSupervised => Scalar::Bool(platform == Platform::Ios && !self.personal(index)),
            Property::ExchangeAccessState | Property::ExchangeAccessStateReason => "none".into(),
            Property::IsEncrypted => Scalar::Bool(!misc.is_multiple_of(11)),
            Property::Model => self.hardware(index).model.into(),
            Property::Manufacturer => self.hardware(index).manufacturer.into(),
            Property::Imei if self.mobile(index) => {
                format!("35{:013}", self.draw(index, stream::SERIAL) % 10_000_000_000_000).into()
            }
            Property::ComplianceGracePeriodExpirationDateTime => Scalar::Time(self.grace_expiry(index)),
            Property::SerialNumber => self.serial(index).into(),
            Property::AndroidSecurityPatchLevel if platform == Platform::Android => "2026-09-05".into(),
            Property::UserDisplayName => self.user_display_name(index).into(),
            Property::WiFiMacAddress => self.wifi_mac(index).into(),
            Property::TotalStorageSpaceInBytes => Scalar::Int(storage(self.draw(index, stream::STORAGE)).0),
            Property::FreeStorageSpaceInBytes => Scalar::Int(storage(self.draw(index, stream::STORAGE)).1),
            Property::ManagedDeviceName => {
                let user = self.user_principal_name(index);
                let user = user.split('@').next().unwrap_or_default();
                format!("{user}_{}_12/19/2024_11:47 AM", platform.operating_system()).into()
            }
            Property::PartnerReportedThreatState => {
                if misc % 100 == 7 {
                    "mediumSeverity".into()
                } else {
                    "unknown".into()
                }
            }
            Property::ManagementCertificateExpirationDate => {
                Scalar::Time(self.epoch + Duration::days(200) + whole_seconds(misc % 8_640_000))
            }
            Property::Udid if matches!(platform, Platform::Ios | Platform::MacOs) => {
                format!("{:08X}-{misc:016X}", misc >> 32).into()
            }
            Property::EthernetMacAddress => self.ethernet_mac(index).map_or(Scalar::Null, Into::into),
            Property::PhysicalMemoryInBytes => Scalar::Int(17_179_869_184),
            Property::DeviceActionResults => Scalar::Json(serde_json::Value::Array(Vec::new())),
            Property::ManagementState => "managed".into(),
            Property::Imei
            | Property::AndroidSecurityPatchLevel
            | Property::PhoneNumber
            | Property::SubscriberCarrier
            | Property::Meid => "".into(),
            Property::ActivationLockBypassCode
            | Property::RemoteAssistanceSessionUrl
            | Property::RemoteAssistanceSessionErrorDetails
            | Property::ConfigurationManagerClientEnabledFeatures
            | Property::DeviceHealthAttestationState
            | Property::RequireUserEnrollmentApproval
            | Property::Iccid
            | Property::Udid
            | Property::Notes
            | Property::EnrollmentProfileName => Scalar::Null,
        }
    }
}

fn pick<T>(from: &'static [T], draw: u64) -> &'static T {
    let at = usize::try_from(draw % from.len() as u64).unwrap_or(0);
    &from[at]
}

fn whole_seconds(seconds: u64) -> Duration {
    Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 4))
}

/// Total and free bytes of the drive.
fn storage(draw: u64) -> (i64, i64) {
    let total = [127_701_875_200, 255_404_802_048, 511_101_108_224][usize::try_from(draw % 3).unwrap_or(0)];
    (total, total / 100 * (10 + i64::try_from(draw % 80).unwrap_or(0)))
}

/// `value` in base 36, upper case, the last `digits` digits.
fn base_36(mut value: u64, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for slot in text.iter_mut().rev() {
        let digit = u8::try_from(value % 36).unwrap_or(0);
        *slot = if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
        value /= 36;
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use time::macros::datetime;

    use super::*;

    fn recipe(count: u64) -> Recipe {
        Recipe { seed: 7, domain: "contoso.example".into(), epoch: datetime!(2026-01-01 0:00 UTC), count }
    }

    #[test]
    fn macs_are_twelve_upper_case_hex_digits_or_empty_and_ids_are_unique() {
        let recipe = recipe(3_000);
        let mut ids = HashSet::new();
        for index in 0..recipe.count {
            let mac = recipe.wifi_mac(index);
            assert!(
                mac.is_empty()
                    || mac.len() == 12
                        && mac.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
                "{mac}"
            );
            let id = recipe.intune_id(index);
            assert_eq!(recipe.index_of_intune_id(id), Some(index));
            assert!(ids.insert(id));
        }
    }

    #[test]
    fn a_small_fleet_shows_every_state() {
        let states: HashSet<_> = (0..20).map(|index| recipe(60).compliance(index)).collect();
        assert_eq!(states.len(), 7);
    }

    #[test]
    fn a_fleet_has_the_traps_that_matching_must_survive() {
        let recipe = recipe(5_000);
        let serials: Vec<_> = (0..5_000).map(|index| recipe.serial(index)).collect();
        assert!(serials.iter().any(String::is_empty) && serials.iter().any(|serial| serial == "0"));
        assert!((0..5_000).any(|index| recipe.entra_device_id(index).is_none()));
        let docks =
            (0..5_000).filter(|index| recipe.ethernet_mac(*index).as_deref() == Some(SHARED_DOCK_MAC));
        assert!(docks.count() > 2);
    }

    #[test]
    fn devices_check_in_about_every_eight_hours() {
        let recipe = recipe(60);
        let now = recipe.epoch + Duration::days(3);
        let Scalar::Time(sync) = recipe.property(0, Property::LastSyncDateTime, now) else { panic!() };
        assert!(now - sync < Duration::hours(9), "{sync}");
    }
}
