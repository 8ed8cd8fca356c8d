use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;

/// The record of Microsoft's list, as it was observed.
fn listed() -> Value {
    json!({
        "id": "7809c88c-b33b-4c1c-94e0-00ce3175037b", "userId": "7fe74058-0000-4000-8000-000000000000",
        "deviceName": "LAPTOP01", "managedDeviceOwnerType": "personal",
        "enrolledDateTime": "2022-04-22T12:59:11Z", "lastSyncDateTime": "2024-07-01T23:17:06Z",
        "operatingSystem": "Windows", "complianceState": "compliant", "jailBroken": "Unknown",
        "osVersion": "10.0.22631.3737", "azureADDeviceId": "e266c39a-0000-4000-8000-000000000001",
        "deviceCategoryDisplayName": "Unknown", "isEncrypted": false, "userPrincipalName": "u@contoso.com",
        "model": "XPS", "manufacturer": "Dell", "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
        "serialNumber": "", "wiFiMacAddress": "D46E0E022896", "partnerReportedThreatState": "unknown",
        "ethernetMacAddress": null, "udid": null,
    })
}

fn with(field: &str, value: Value) -> GraphDevice {
    let mut record = listed();
    record[field] = value;
    GraphDevice::read(&record).unwrap()
}

#[test]
fn a_listed_record() {
    let device = GraphDevice::read(&listed()).unwrap();
    assert_eq!(
        device,
        GraphDevice {
            id: "7809c88c-b33b-4c1c-94e0-00ce3175037b".parse().unwrap(),
            name: Some("LAPTOP01".to_owned()),
            serial: None,
            entra_id: Some("e266c39a-0000-4000-8000-000000000001".parse().unwrap()),
            wifi_mac: Some("d4:6e:0e:02:28:96".parse().unwrap()),
            ethernet_mac: None,
            compliance: ComplianceState::Compliant,
            grace_expires_at: None,
            last_check_in: Some(datetime!(2024-07-01 23:17:06 UTC)),
            enrolled_at: Some(datetime!(2022-04-22 12:59:11 UTC)),
            os: Some("Windows".to_owned()),
            os_version: Some("10.0.22631.3737".to_owned()),
            owner: Some("personal".to_owned()),
            encrypted: Some(false),
            jailbroken: None,
            threat_state: Some("unknown".to_owned()),
            category: None,
            manufacturer: Some("Dell".to_owned()),
            model: Some("XPS".to_owned()),
            user_principal_name: Some("u@contoso.com".to_owned()),
            management_state: None,
            udid: None,
            raw: json!({
                "id": "7809c88c-b33b-4c1c-94e0-00ce3175037b", "deviceName": "LAPTOP01", "serialNumber": "",
                "azureADDeviceId": "e266c39a-0000-4000-8000-000000000001", "wiFiMacAddress": "D46E0E022896",
                "ethernetMacAddress": null, "complianceState": "compliant",
                "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
                "lastSyncDateTime": "2024-07-01T23:17:06Z", "enrolledDateTime": "2022-04-22T12:59:11Z",
                "operatingSystem": "Windows", "osVersion": "10.0.22631.3737", "managedDeviceOwnerType": "personal",
                "isEncrypted": false, "jailBroken": "Unknown", "partnerReportedThreatState": "unknown",
                "deviceCategoryDisplayName": "Unknown", "manufacturer": "Dell", "model": "XPS",
                "userPrincipalName": "u@contoso.com", "udid": null,
            }),
        }
    );
    let link = LinkId(Uuid::from_u128(1));
    let facts = device.clone().into_facts(link, datetime!(2026-11-20 12:00 UTC));
    assert_eq!(
        (facts.link, facts.id, facts.name, facts.wifi_mac),
        (link, device.id, device.name, device.wifi_mac)
    );
    assert_eq!(facts.missing_since, None);
}

#[test]
fn states_are_an_open_enum() {
    for (value, state) in [
        (json!("inGracePeriod"), ComplianceState::InGracePeriod),
        (json!("noncompliant"), ComplianceState::Noncompliant),
        (json!("configManager"), ComplianceState::ConfigManager),
        (json!("brandNew"), ComplianceState::Other("brandNew".to_owned())),
        (json!(null), ComplianceState::Unknown),
        (json!(""), ComplianceState::Unknown),
        (json!({}), ComplianceState::Unknown),
    ] {
        assert_eq!(with("complianceState", value.clone()).compliance, state, "{value}");
    }
}

#[test]
fn sentinels_and_precisions_of_time() {
    for (value, at) in [
        (json!("0001-01-01T00:00:00Z"), None),
        (json!("9999-12-31T23:59:59Z"), None),
        (json!("9999-12-31T23:59:59.9999999Z"), None),
        (json!("2026-11-20T12:00:00Z"), Some(datetime!(2026-11-20 12:00 UTC))),
        (json!("2026-11-20T12:00:00.1234567Z"), Some(datetime!(2026-11-20 12:00:00.123456 UTC))),
        (json!("2026-11-20T12:00:00.123456789Z"), Some(datetime!(2026-11-20 12:00:00.123456 UTC))),
        (json!("2026-11-20T14:00:00+02:00"), Some(datetime!(2026-11-20 12:00 UTC))),
        (json!("2026-11-20T12:00:00"), Some(datetime!(2026-11-20 12:00 UTC))),
        (json!("2026-11-20T12:00:00.5"), Some(datetime!(2026-11-20 12:00:00.5 UTC))),
        (json!("yesterday"), None),
        (json!(""), None),
        (json!(null), None),
        (json!(1_700_000_000), None),
    ] {
        assert_eq!(
            with("complianceGracePeriodExpirationDateTime", value.clone()).grace_expires_at,
            at,
            "{value}"
        );
        assert_eq!(with("lastSyncDateTime", value.clone()).last_check_in, at, "{value}");
    }
}

#[test]
fn identities_that_identify_nobody() {
    for value in ["", "0", "000000", " ", "To Be Filled By O.E.M.", "Default string", "Unknown"] {
        assert_eq!(with("serialNumber", json!(value)).serial, None, "{value:?}");
    }
    assert_eq!(with("serialNumber", json!(" 5CD1234ABC ")).serial.as_deref(), Some("5CD1234ABC"));
    assert_eq!(with("serialNumber", json!(12345)).serial.as_deref(), Some("12345"));
    for value in [json!("00000000-0000-0000-0000-000000000000"), json!(""), json!(null), json!("x")] {
        assert_eq!(with("azureADDeviceId", value).entra_id, None);
    }
    for value in ["", "000000000000", "FFFFFFFFFFFF", "01005E000001", "D46E0E0228", "not a mac"] {
        assert_eq!(with("wiFiMacAddress", json!(value)).wifi_mac, None, "{value}");
    }
    for value in ["D46E0E022896", "d4:6e:0e:02:28:96", "D4-6E-0E-02-28-96"] {
        assert!(with("ethernetMacAddress", json!(value)).ethernet_mac.is_some(), "{value}");
    }
}

#[test]
fn jailbroken_is_a_text() {
    for (value, known) in [
        (json!("True"), Some(true)),
        (json!("False"), Some(false)),
        (json!("Unknown"), None),
        (json!(""), None),
        (json!(null), None),
        (json!(true), Some(true)),
    ] {
        assert_eq!(with("jailBroken", value).jailbroken, known);
    }
}

#[test]
fn without_an_id_there_is_no_device() {
    for value in [json!(null), json!(""), json!("0"), json!("00000000-0000-0000-0000-000000000000")] {
        let mut record = listed();
        record["id"] = value;
        assert_eq!(GraphDevice::read(&record), None);
    }
    for record in [json!(null), json!([]), json!("x")] {
        assert_eq!(GraphDevice::read(&record), None);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{1,5}-[0-9]{1,2}-[0-9]{1,2}T[0-9:]{1,8}(\\.[0-9]{1,9})?(Z|[+-][0-9:]{2,5})?"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

proptest! {
    /// Whatever Graph sends, a record reads, and PostgreSQL takes its texts.
    #[test]
    fn any_record_reads(values in prop::collection::vec(any_json(), 22)) {
        let mut record = json!({});
        for (name, value) in SELECT.split(',').zip(values) {
            record[name] = value;
        }
        let _ = GraphDevice::read(&record);
        record["id"] = json!("7809c88c-b33b-4c1c-94e0-00ce3175037b");
        let device = GraphDevice::read(&record).unwrap();
        let texts = [&device.name, &device.serial, &device.os, &device.os_version, &device.owner, &device.threat_state,
            &device.category, &device.manufacturer, &device.model, &device.user_principal_name, &device.management_state];
        for text in texts.into_iter().flatten() {
            prop_assert!(!text.is_empty() && text.trim() == text && text.chars().count() <= TEXT_CHARS_MAX);
            prop_assert!(!text.chars().any(char::is_control));
        }
        prop_assert!(!device.compliance.as_str().contains('\0'));
        prop_assert!(!device.raw.to_string().contains("\\u0000"));
        for (name, value) in device.raw.as_object().unwrap() {
            prop_assert!(SELECT.split(',').any(|known| known == name));
            prop_assert!(value.as_str().is_none_or(|text| text.chars().count() <= RAW_CHARS_MAX));
            prop_assert!(!value.is_array() && !value.is_object());
        }
        prop_assert!(device.wifi_mac.is_none_or(|mac| mac.is_station()));
        for at in [device.grace_expires_at, device.last_check_in, device.enrolled_at].into_iter().flatten() {
            prop_assert_eq!(at.nanosecond() % 1000, 0);
            prop_assert!((1900..9999).contains(&at.year()));
        }
    }
}
