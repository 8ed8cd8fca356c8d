//! A request and its facts as fields, there and back.

use std::str::FromStr;

use domain::compliance::{Compliance, Literal, assess};
use domain::decision::Posture;
use domain::device::{ComplianceState, DeviceFacts};
use domain::policy::FieldError;
use domain::policy::decide::Input;
use domain::request::{AccessRequest, AuthType, Certificate, Nas, PortType};
use domain::resolver::{Match, MatchKey, Outcome};
use domain::snapshot::{LinkFacts, OrgSettings};
use domain::{DeviceId, EdgeId, LinkId, SiteId};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::form::{given, lines};

/// No device: what `found` says then.
pub(super) const NOT_ENROLLED: &str = "not-enrolled";
pub(super) const AMBIGUOUS: &str = "ambiguous";
pub(super) const UNLINKED: &str = "unlinked";
/// The states to choose from, in Graph's spelling.
pub(super) const STATES: &[ComplianceState] = &[
    ComplianceState::Compliant,
    ComplianceState::Noncompliant,
    ComplianceState::InGracePeriod,
    ComplianceState::Unknown,
    ComplianceState::Error,
    ComplianceState::Conflict,
    ComplianceState::ConfigManager,
];

/// Every field as text, as it is typed. Fields of several values have one in each line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SimulateForm {
    pub against: String,
    /// The moment of the decision; empty for now.
    pub at: String,
    pub site: String,
    pub mac: String,
    pub auth_type: String,
    pub ssid: String,
    pub user_name: String,
    pub hostname: String,
    pub ingress_vlan: String,
    pub radius_group: String,
    pub gbp_tag: String,
    pub idp_roles: String,
    pub usermac_labels: String,
    pub port_type: String,
    pub nas_vendor: String,
    pub nas_ip: String,
    pub nas_identifier: String,
    pub nas_port_id: String,
    /// `on` where a client certificate is presented.
    pub cert: String,
    pub cert_cn: String,
    pub cert_subject: String,
    pub cert_issuer: String,
    pub cert_serial: String,
    pub cert_not_after: String,
    pub cert_template: String,
    pub san_uri: String,
    pub san_dns: String,
    pub san_upn: String,
    pub san_email: String,
    pub ekus: String,
    /// A [`MatchKey`], or why there is no device.
    pub found: String,
    pub state: String,
    /// `on` where the record is older than the organization lets it be.
    pub stale: String,
    pub grace_expires_at: String,
    pub last_check_in: String,
    pub os: String,
    pub os_version: String,
    pub owner: String,
    /// `yes`, `no` or empty.
    pub encrypted: String,
    pub jailbroken: String,
    pub threat_state: String,
    pub category: String,
    pub manufacturer: String,
    pub model: String,
}

/// What the engine is asked with.
#[derive(Debug)]
pub(super) struct Case {
    pub request: AccessRequest,
    device: Option<DeviceFacts>,
    ambiguous: bool,
    key: Option<MatchKey>,
    pub compliance: Compliance,
    pub now: OffsetDateTime,
}

impl Case {
    /// Runs something on it: `decide`, `explain`.
    pub(super) fn with<T>(&self, run: impl FnOnce(&Input<'_>) -> T) -> T {
        let found = found(self.device.as_ref(), self.ambiguous, self.key);
        run(&Input { request: &self.request, found: &found, compliance: &self.compliance, now: self.now })
    }
}

fn found(device: Option<&DeviceFacts>, ambiguous: bool, key: Option<MatchKey>) -> Match<'_> {
    let outcome = match device {
        Some(device) => Outcome::Device(device),
        None if ambiguous => Outcome::Ambiguous,
        None => Outcome::NotEnrolled,
    };
    Match { outcome, key, mac_mismatch: false, wanted: Vec::new() }
}

impl SimulateForm {
    /// An ordinary case to begin with.
    pub(super) fn example(site: Option<SiteId>) -> Self {
        Self {
            against: "draft".to_owned(),
            site: site.map(|site| site.to_string()).unwrap_or_default(),
            auth_type: AuthType::EapTls.as_str().to_owned(),
            port_type: PortType::Wireless.as_str().to_owned(),
            cert: "on".to_owned(),
            found: MatchKey::SanUri.as_str().to_owned(),
            state: ComplianceState::Compliant.as_str().to_owned(),
            ..Self::default()
        }
    }

    /// The fields of a request.
    pub(super) fn request(mut self, request: &AccessRequest) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let joined = |many: &[String]| many.join("\n");
        self.site = request.site.to_string();
        self.mac = request.mac.map(|mac| mac.to_string()).unwrap_or_default();
        self.auth_type = request.auth_type.map(|word| word.to_string()).unwrap_or_default();
        self.ssid = text(&request.ssid);
        self.user_name = text(&request.user_name);
        self.hostname = text(&request.hostname);
        self.ingress_vlan = text(&request.ingress_vlan);
        self.radius_group = text(&request.radius_group);
        self.gbp_tag = request.gbp_tag.map(|tag| tag.to_string()).unwrap_or_default();
        self.idp_roles = joined(&request.idp_roles);
        self.usermac_labels = joined(&request.usermac_labels);
        self.port_type = request.nas.port_type.map(|word| word.to_string()).unwrap_or_default();
        self.nas_vendor = text(&request.nas.vendor);
        self.nas_ip = request.nas.ip.map(|ip| ip.to_string()).unwrap_or_default();
        self.nas_identifier = text(&request.nas.identifier);
        self.nas_port_id = text(&request.nas.port_id);
        self.cert = String::new();
        if let Some(cert) = &request.cert {
            self.cert = "on".to_owned();
            self.cert_cn = text(&cert.cn);
            self.cert_subject = text(&cert.subject);
            self.cert_issuer = text(&cert.issuer);
            self.cert_serial = text(&cert.serial);
            self.cert_not_after = moment_text(cert.not_after);
            self.cert_template = text(&cert.template);
            self.san_uri = joined(&cert.san_uri);
            self.san_dns = joined(&cert.san_dns);
            self.san_upn = joined(&cert.san_upn);
            self.san_email = joined(&cert.san_email);
            self.ekus = joined(&cert.ekus);
        }
        self
    }

    /// The fields of what is known of the client's device.
    pub(super) fn facts(
        mut self,
        found: &str,
        compliance: &Compliance,
        posture: &Posture,
        now: Option<OffsetDateTime>,
    ) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let yes = |yes: Option<bool>| yes.map_or("", |yes| if yes { "yes" } else { "no" }).to_owned();
        found.clone_into(&mut self.found);
        if compliance.has(Literal::Unlinked) {
            UNLINKED.clone_into(&mut self.found);
        }
        self.state = compliance.state.as_ref().unwrap_or(&ComplianceState::Unknown).to_string();
        self.stale = if compliance.has(Literal::Stale) { "on" } else { "" }.to_owned();
        self.last_check_in = moment_text(compliance.last_check_in);
        self.grace_expires_at = moment_text(posture.grace_expires_at);
        self.os = text(&posture.os);
        self.os_version = text(&posture.os_version);
        self.owner = text(&posture.owner);
        self.encrypted = yes(posture.encrypted);
        self.jailbroken = yes(posture.jailbroken);
        self.threat_state = text(&posture.threat_state);
        self.category = text(&posture.category);
        self.manufacturer = text(&posture.manufacturer);
        self.model = text(&posture.model);
        self.at = moment_text(now);
        self
    }

    /// Reads the fields; every one that is wrong is told.
    pub(super) fn case(&self, settings: &OrgSettings, now: OffsetDateTime) -> Result<Case, Vec<FieldError>> {
        let mut read = Read(Vec::new());
        let now = read.moment("at", &self.at).unwrap_or(now);
        let request = self.read_request(&mut read);
        let key = match self.found.as_str() {
            NOT_ENROLLED | AMBIGUOUS | UNLINKED => None,
            word => read.word::<MatchKey>("found", word),
        };
        let ambiguous = self.found == AMBIGUOUS;
        let device = key.map(|_| self.read_device(&mut read, settings, now));
        let (Some(request), true) = (request, read.0.is_empty()) else { return Err(read.0) };
        // A link that says that the fleet is known, and is not the device's: that is as fresh as the form says.
        let link = LinkFacts { id: LinkId(Uuid::max()), confirmed_at: Some(now) };
        let links = if self.found == UNLINKED { vec![] } else { vec![link] };
        let compliance = assess(&found(device.as_ref(), ambiguous, key), &links, settings, now);
        Ok(Case { request, device, ambiguous, key, compliance, now })
    }

    fn read_request(&self, read: &mut Read) -> Option<AccessRequest> {
        let site = read.parse::<SiteId>("site", &self.site, "Choose a site.");
        if site.is_none() && given(&self.site).is_none() {
            read.wrong("site", "Choose a site; make one under Sites & edges first where there is none.");
        }
        let mut request = AccessRequest::bare(EdgeId(Uuid::nil()), site.unwrap_or(SiteId(Uuid::nil())));
        request.mac = read.parse("mac", &self.mac, "Not a MAC address: write it like aa:bb:cc:dd:ee:ff.");
        request.auth_type = read.optional_word::<AuthType>("auth_type", &self.auth_type);
        request.ssid = text(&self.ssid);
        request.user_name = text(&self.user_name);
        request.hostname = text(&self.hostname);
        request.ingress_vlan = text(&self.ingress_vlan);
        request.radius_group = text(&self.radius_group);
        request.gbp_tag = read.parse("gbp_tag", &self.gbp_tag, "Not a number from 0 to 65535.");
        request.idp_roles = lines(&self.idp_roles);
        request.usermac_labels = lines(&self.usermac_labels);
        request.nas = Nas {
            ip: read.parse("nas_ip", &self.nas_ip, "Not an IP address."),
            identifier: text(&self.nas_identifier),
            vendor: text(&self.nas_vendor),
            port_type: read.optional_word::<PortType>("port_type", &self.port_type),
            port_id: text(&self.nas_port_id),
        };
        request.cert = (self.cert == "on").then(|| Certificate {
            cn: text(&self.cert_cn),
            subject: text(&self.cert_subject),
            issuer: text(&self.cert_issuer),
            serial: text(&self.cert_serial),
            not_after: read.moment("cert_not_after", &self.cert_not_after),
            san_uri: lines(&self.san_uri),
            san_dns: lines(&self.san_dns),
            san_upn: lines(&self.san_upn),
            san_email: lines(&self.san_email),
            ekus: lines(&self.ekus),
            template: text(&self.cert_template),
        });
        site.map(|_| request)
    }

    fn read_device(&self, read: &mut Read, settings: &OrgSettings, now: OffsetDateTime) -> DeviceFacts {
        let age = if self.stale == "on" { i64::from(settings.stale_after_seconds) + 1 } else { 0 };
        let state = ComplianceState::from(self.state.trim().to_owned());
        if self.state.trim().is_empty() {
            read.wrong("state", "Choose what Intune says.");
        }
        DeviceFacts {
            os: text(&self.os),
            os_version: text(&self.os_version),
            owner: text(&self.owner),
            encrypted: read.yes("encrypted", &self.encrypted),
            jailbroken: read.yes("jailbroken", &self.jailbroken),
            threat_state: text(&self.threat_state),
            category: text(&self.category),
            manufacturer: text(&self.manufacturer),
            model: text(&self.model),
            grace_expires_at: read.moment("grace_expires_at", &self.grace_expires_at),
            last_check_in: read.moment("last_check_in", &self.last_check_in),
            ..DeviceFacts::bare(
                LinkId(Uuid::nil()),
                DeviceId(Uuid::nil()),
                state,
                now - Duration::seconds(age),
            )
        }
    }
}

fn text(field: &str) -> Option<String> {
    given(field).map(str::to_owned)
}

fn moment_text(at: Option<OffsetDateTime>) -> String {
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

struct Read(Vec<FieldError>);

impl Read {
    fn wrong(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.push(FieldError::new(field, "bad_value", message));
    }

    fn parse<T: FromStr>(&mut self, field: &'static str, text: &str, message: &str) -> Option<T> {
        let value = given(text)?.parse().ok();
        if value.is_none() {
            self.wrong(field, message);
        }
        value
    }

    fn word<T: FromStr<Err = domain::request::UnknownWord>>(
        &mut self,
        field: &'static str,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                self.wrong(field, format!("Not understood: {error}."));
                None
            }
        }
    }

    fn optional_word<T: FromStr<Err = domain::request::UnknownWord>>(
        &mut self,
        field: &'static str,
        text: &str,
    ) -> Option<T> {
        given(text).and_then(|text| self.word(field, text))
    }

    fn moment(&mut self, field: &'static str, text: &str) -> Option<OffsetDateTime> {
        let text = given(text)?;
        let at = OffsetDateTime::parse(text, &Rfc3339).ok();
        if at.is_none() {
            self.wrong(field, "Write the moment like 2026-11-20T12:34:56Z.");
        }
        at
    }

    fn yes(&mut self, field: &'static str, text: &str) -> Option<bool> {
        match text.trim() {
            "yes" => Some(true),
            "no" => Some(false),
            "" => None,
            _ => {
                self.wrong(field, "Choose yes, no or unknown.");
                None
            }
        }
    }
}
