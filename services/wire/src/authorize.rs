//! An access request and its answer, in the words of `POST /v1/nac/authorize`.

use domain::decision::{Answer, Decision, Redirect, RuleRef};
use domain::device::ComplianceState;
use domain::radius::{self, RadiusAttribute};
use domain::request::{
    AccessRequest, Certificate, IDP_ROLE_CHARS_MAX, IDP_ROLES_MAX, LIST_MAX, NAME_CHARS_MAX, Nas,
    SSID_CHARS_MAX, SUBJECT_CHARS_MAX,
};
use domain::resolver::{MatchKey, MatchStrength};
use domain::{DeviceId, EdgeId, SessionId, SiteId};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::fields::Fields;
use crate::schema;

/// What an edge asks. All of it is optional: what the edge does not know is left out, or null, or "". Fields that are
/// not listed are ignored.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(default)]
pub struct AuthorizeRequest {
    /// The client's MAC address (Calling-Station-Id), in any usual notation.
    #[schema(example = "d4:6e:0e:02:28:96")]
    pub mac: Option<String>,
    #[schema(schema_with = schema::auth_type)]
    pub auth_type: Option<String>,
    #[schema(example = "corp")]
    pub ssid: Option<String>,
    #[schema(example = "alex@contoso.example")]
    pub user_name: Option<String>,
    /// What the client calls itself (DHCP option 12 or the like).
    #[schema(example = "lobby-tv-3")]
    pub hostname: Option<String>,
    /// The VLAN that the client is in or came from: its name, or its id as text or number.
    #[schema(schema_with = schema::ingress_vlan)]
    pub ingress_vlan: Option<String>,
    /// The role that an identity provider or an upstream server gave (Filter-Id).
    #[schema(example = "employees")]
    pub radius_group: Option<String>,
    /// The tag of the group-based policy that the client came with: a number, or its digits as text.
    #[schema(schema_with = schema::gbp_tag)]
    pub gbp_tag: Option<u16>,
    /// The user's groups or roles, from the identity provider; at most 256.
    #[schema(example = json!(["staff", "grp-net-berlin"]))]
    pub idp_roles: Vec<String>,
    /// The labels that the organization's endpoint list gives to the MAC.
    #[schema(example = json!(["printer"]))]
    pub usermac_labels: Vec<String>,
    /// The edge's own name of the session (Acct-Session-Id); the same in accounting and commands. Where it is left
    /// out, the MAC names the session.
    #[schema(example = "8f3a-0001")]
    pub session_id: Option<String>,
    pub nas: Option<NasRequest>,
    pub cert: Option<CertificateRequest>,
}

/// The network access server that the client is at.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct NasRequest {
    /// NAS-IP-Address.
    #[schema(example = "192.0.2.7")]
    pub ip: Option<String>,
    /// NAS-Identifier.
    #[schema(example = "ap-lobby")]
    pub identifier: Option<String>,
    #[schema(example = "juniper")]
    pub vendor: Option<String>,
    #[schema(schema_with = schema::port_type)]
    pub port_type: Option<String>,
    /// NAS-Port-Id.
    #[schema(example = "ge-0/0/7")]
    pub port_id: Option<String>,
}

/// What the edge read from the client's certificate, which it has verified.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct CertificateRequest {
    #[schema(example = "LAPTOP-0042")]
    pub cn: Option<String>,
    /// The distinguished name, in OpenSSL's one-line form or RFC 4514's.
    #[schema(example = "CN=LAPTOP-0042,O=Contoso")]
    pub subject: Option<String>,
    #[schema(example = "CN=Contoso Issuing CA")]
    pub issuer: Option<String>,
    /// The certificate's own serial number, hexadecimal.
    #[schema(example = "4d0000002f")]
    pub serial: Option<String>,
    /// RFC 3339, seconds since 1970, or `YYMMDDhhmmssZ`.
    #[schema(example = "2027-11-20T12:00:00Z")]
    pub not_after: Option<String>,
    #[schema(example = json!(["ID:Microsoft Endpoint Manager:GUID:5b0c6c4e-6c2b-4e5e-9a57-2f1f0e6c1a42"]))]
    pub san_uri: Vec<String>,
    pub san_dns: Vec<String>,
    pub san_upn: Vec<String>,
    pub san_email: Vec<String>,
    /// The extended key usages, as OIDs.
    #[schema(example = json!(["1.3.6.1.5.5.7.3.2"]))]
    pub ekus: Vec<String>,
    /// The OID of the AD CS template that it was issued from.
    #[schema(example = "1.3.6.1.4.1.311.21.8.1234567.7654321")]
    pub template: Option<String>,
}

/// The answer. A denial is an answer, too: status 200 with `action` `deny`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorizeAnswer {
    pub decision_id: uuid::Uuid,
    #[schema(schema_with = schema::action)]
    pub action: &'static str,
    /// Why, for machines. Stable.
    #[schema(schema_with = schema::reason)]
    pub reason: &'static str,
    /// Why, for people.
    pub reason_text: &'static str,
    /// The rule that decided; null where none did.
    pub rule: Option<RuleAnswer>,
    /// The published policy version that decided.
    pub policy_version: Option<i32>,
    /// A VLAN id or name.
    pub vlan: Option<String>,
    /// Sent as Filter-Id.
    pub role: Option<String>,
    /// Seconds.
    pub session_timeout: Option<u32>,
    /// VLANs of a trunk port (RFC 4675): `1name` tagged, `2name` untagged.
    pub egress_vlan_names: Vec<String>,
    /// The tag of the group-based policy that the client gets.
    pub gbp_tag: Option<u16>,
    /// Given back as User-Name.
    pub user_name: Option<String>,
    /// A page that the client is led to: for Gatehouse's own, an address that is the client's alone.
    pub redirect_url: Option<String>,
    /// The attributes of the Access-Accept, to be applied as they are; none for a denial. Those that are not standard
    /// are in the words of `nas.vendor`.
    #[schema(value_type = Vec<RadiusAttributeAnswer>)]
    pub radius_attributes: Vec<RadiusAttribute>,
    pub compliance: ComplianceAnswer,
    #[serde(rename = "match")]
    pub found: MatchAnswer,
    /// Gatehouse's own name of the session; null where the edge could not be told apart.
    pub session_id: Option<uuid::Uuid>,
    /// Whether the decision is kept. Where not, report it again later.
    pub recorded: bool,
    /// The decision as `/v1/nac/events` takes it; there where it is not kept, and `Gatehouse-Tells-Later` was asked
    /// with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub unrecorded: Option<Value>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleAnswer {
    pub id: uuid::Uuid,
    pub name: String,
}

/// One RADIUS attribute.
#[derive(Debug, Serialize, ToSchema)]
pub struct RadiusAttributeAnswer {
    #[schema(example = "Tunnel-Private-Group-Id")]
    pub name: String,
    #[schema(example = "30")]
    pub value: String,
}

/// What is known of the client's MDM compliance.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComplianceAnswer {
    /// Intune's own state; null where no one device matched.
    pub state: Option<String>,
    #[schema(schema_with = schema::verdict)]
    pub verdict: &'static str,
    /// Every value of `mdm_status` that holds.
    #[schema(schema_with = schema::literals)]
    pub literals: Vec<&'static str>,
    /// The device's last contact with Intune.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_check_in: Option<OffsetDateTime>,
    /// Its age at the decision.
    pub last_check_in_age_seconds: Option<i64>,
    /// When Gatehouse last confirmed the record with Intune.
    #[serde(with = "time::serde::rfc3339::option")]
    pub fetched_at: Option<OffsetDateTime>,
    /// Its age at the decision.
    pub fetched_age_seconds: Option<i64>,
    pub device: Option<DeviceAnswer>,
}

/// The device that matched.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceAnswer {
    /// Intune's managedDevice id.
    pub id: uuid::Uuid,
    pub name: Option<String>,
}

/// How the client was found in the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchAnswer {
    #[schema(schema_with = schema::match_outcome)]
    pub outcome: &'static str,
    /// The key that decided.
    #[schema(schema_with = schema::match_key)]
    pub key: Option<&'static str>,
    /// How much the match proves.
    #[schema(schema_with = schema::match_strength)]
    pub strength: Option<&'static str>,
    /// The certificate names one device while the MAC belongs to another.
    pub mac_mismatch: bool,
}

/// Reads a request of an edge at a site.
pub fn read_request(fields: &mut Fields<'_>, edge: EdgeId, site: SiteId) -> AccessRequest {
    AccessRequest {
        edge,
        site,
        mac: fields.mac("mac"),
        auth_type: fields.word("auth_type"),
        ssid: fields.text("ssid", SSID_CHARS_MAX),
        user_name: fields.text("user_name", NAME_CHARS_MAX),
        hostname: fields.text("hostname", NAME_CHARS_MAX),
        ingress_vlan: fields.text_or_number("ingress_vlan", NAME_CHARS_MAX),
        radius_group: fields.text("radius_group", NAME_CHARS_MAX),
        gbp_tag: fields.number("gbp_tag"),
        idp_roles: fields.texts("idp_roles", IDP_ROLES_MAX, IDP_ROLE_CHARS_MAX),
        usermac_labels: fields.texts("usermac_labels", LIST_MAX, NAME_CHARS_MAX),
        session_id: fields.text("session_id", NAME_CHARS_MAX),
        nas: fields.object("nas").map(|fields| read_nas(fields)).unwrap_or_default(),
        cert: fields.object("cert").and_then(|fields| read_certificate(fields)),
    }
}

fn read_nas(mut fields: Fields<'_>) -> Nas {
    Nas {
        ip: fields.ip("ip"),
        identifier: fields.text("identifier", NAME_CHARS_MAX),
        vendor: fields.text("vendor", NAME_CHARS_MAX),
        port_type: fields.word("port_type"),
        port_id: fields.text("port_id", NAME_CHARS_MAX),
    }
}

/// `None` where the edge filled in nothing: a template with empty values is no certificate.
fn read_certificate(mut fields: Fields<'_>) -> Option<Certificate> {
    let certificate = Certificate {
        cn: fields.text("cn", NAME_CHARS_MAX),
        subject: fields.text("subject", SUBJECT_CHARS_MAX),
        issuer: fields.text("issuer", SUBJECT_CHARS_MAX),
        serial: fields.text("serial", NAME_CHARS_MAX),
        not_after: fields.time("not_after"),
        san_uri: fields.texts("san_uri", LIST_MAX, SUBJECT_CHARS_MAX),
        san_dns: fields.texts("san_dns", LIST_MAX, NAME_CHARS_MAX),
        san_upn: fields.texts("san_upn", LIST_MAX, NAME_CHARS_MAX),
        san_email: fields.texts("san_email", LIST_MAX, NAME_CHARS_MAX),
        ekus: fields.texts("ekus", LIST_MAX, NAME_CHARS_MAX),
        template: fields.text("template", NAME_CHARS_MAX),
    };
    (certificate != Certificate::default()).then_some(certificate)
}

/// What the edge is told. Trace, rules on trial and the device's posture are for the record alone.
#[must_use]
pub fn write_answer(
    answer: &Answer,
    vendor: Option<&str>,
    session: Option<SessionId>,
    recorded: bool,
) -> AuthorizeAnswer {
    let Answer { id, at, decision, compliance, found } = answer;
    let Decision { outcome, reason, rule, policy_version, trace: _, dry_run: _ } = decision;
    let age = |since: Option<OffsetDateTime>| since.map(|since| (*at - since).whole_seconds().max(0));
    AuthorizeAnswer {
        decision_id: id.uuid(),
        action: if outcome.permit { "allow" } else { "deny" },
        reason: reason.as_str(),
        reason_text: reason.explain().0,
        rule: rule
            .as_ref()
            .map(|RuleRef { id, name, position: _ }| RuleAnswer { id: id.uuid(), name: name.clone() }),
        policy_version: *policy_version,
        vlan: outcome.vlan.clone(),
        role: outcome.role.clone(),
        session_timeout: outcome.session_timeout,
        egress_vlan_names: outcome.egress_vlan_names.clone(),
        gbp_tag: outcome.gbp_tag,
        user_name: outcome.user_name.clone(),
        redirect_url: outcome.redirect_url.as_ref().and_then(Redirect::url).map(str::to_owned),
        radius_attributes: radius::attributes_for(outcome, vendor),
        compliance: ComplianceAnswer {
            state: compliance.state.as_ref().map(ComplianceState::to_string),
            verdict: compliance.verdict.as_str(),
            literals: compliance.literals.iter().map(|literal| literal.as_str()).collect(),
            last_check_in: compliance.last_check_in,
            last_check_in_age_seconds: age(compliance.last_check_in),
            fetched_at: compliance.fetched_at,
            fetched_age_seconds: age(compliance.fetched_at),
            device: found
                .device
                .map(|id: DeviceId| DeviceAnswer { id: id.uuid(), name: found.device_name.clone() }),
        },
        found: MatchAnswer {
            outcome: found.outcome.as_str(),
            key: found.key.map(MatchKey::as_str),
            strength: found.strength.map(MatchStrength::as_str),
            mac_mismatch: found.mac_mismatch,
        },
        session_id: session.map(SessionId::uuid),
        recorded,
        unrecorded: None,
        at: *at,
    }
}
