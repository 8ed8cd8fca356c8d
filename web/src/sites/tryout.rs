//! What a client would get at an edge now: decided by the live policy from what is known of its device, and recorded
//! nowhere.

use std::collections::HashMap;

use domain::answer::{Ground, answer};
use domain::compliance::Compliance;
use domain::decision::Decision;
use domain::policy::decide::Input;
use domain::policy::trace::retell;
use domain::policy::{CompiledPolicy, FieldError};
use domain::radius::rest::answer::write;
use domain::radius::vendor::PROFILES;
use domain::request::{AccessRequest, AuthType, PortType};
use serde::Deserialize;
use store::OrgTx;
use store::views::sites::{self as views, EdgeHeard};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::candidates::Candidates;
use crate::error::PageError;
use crate::events::explain::{Links, Told};
use crate::form::{self, chosen, given, plain};
use crate::visit::Member;

/// The client that is tried; what is left empty is as the edge last told it of this client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TryForm {
    pub mac: String,
    pub auth_type: String,
    pub port_type: String,
    pub vendor: String,
    pub ssid: String,
}

impl TryForm {
    fn of(request: &AccessRequest) -> Self {
        Self {
            mac: request.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            auth_type: request.auth_type.map(|word| word.to_string()).unwrap_or_default(),
            port_type: request.nas.port_type.map(|word| word.to_string()).unwrap_or_default(),
            vendor: request.nas.vendor.clone().unwrap_or_default(),
            ssid: request.ssid.clone().unwrap_or_default(),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.mac, &self.auth_type, &self.port_type, &self.vendor, &self.ssid]
            .iter()
            .all(|field| given(field).is_none())
    }

    /// The request that the edge would make.
    fn request(&self, edge: &EdgeHeard, asked: &[AccessRequest]) -> Result<AccessRequest, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mac = form::mac("mac", &self.mac, &mut errors);
        let auth_type = chosen::<AuthType>("auth_type", &self.auth_type, &mut errors);
        let port_type = chosen::<PortType>("port_type", &self.port_type, &mut errors);
        let vendor = plain("vendor", &self.vendor, &mut errors);
        let ssid = plain("ssid", &self.ssid, &mut errors);
        for (field, text) in [("vendor", &self.vendor), ("ssid", &self.ssid)] {
            if text.chars().count() > 253 {
                errors.push(FieldError::new(field, "too_long", "Use 253 characters at most."));
            }
        }
        if mac.is_none() && errors.is_empty() {
            errors.push(FieldError::new("mac", "required", "Give the client's MAC address."));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // With the certificate and the port that this client came with.
        let known = asked.iter().find(|request| request.mac == mac);
        let mut request = known.cloned().unwrap_or_else(|| AccessRequest::bare(edge.id, edge.site));
        request.mac = mac;
        request.auth_type = auth_type;
        request.nas.port_type = port_type;
        request.nas.vendor = vendor;
        request.ssid = ssid;
        if !matches!(request.auth_type, Some(AuthType::EapTls | AuthType::EapTeap)) {
            request.cert = None;
        }
        Ok(request)
    }

    pub(super) fn auth_types() -> Vec<&'static str> {
        AuthType::ALL.iter().map(|word| word.as_str()).collect()
    }

    pub(super) fn port_types() -> Vec<&'static str> {
        PortType::ALL.iter().map(|word| word.as_str()).collect()
    }

    /// Vendors whose words are known.
    pub(super) fn vendors() -> Vec<&'static str> {
        PROFILES.iter().map(|profile| profile.name).collect()
    }
}

/// What came of it.
pub(super) struct Tried {
    pub decision: Decision,
    pub compliance: Compliance,
    pub told: Told,
    pub device_name: Option<String>,
    /// What the NAS gets, by name.
    pub reply: Vec<(String, String)>,
    pub with_certificate: bool,
    pub version: Option<i32>,
}

/// The form to show, and what came of it: of what was typed, else of the client that the edge asked for last. `Ok(None)`:
/// there is nobody to try.
pub(super) struct Tryout {
    pub form: TryForm,
    pub outcome: Result<Option<Tried>, Vec<FieldError>>,
    /// The form is filled with the edge's last client.
    pub is_sample: bool,
}

pub(super) async fn run(
    tx: &mut OrgTx,
    member: &Member,
    edge: &EdgeHeard,
    typed: TryForm,
    now: OffsetDateTime,
) -> Result<Tryout, PageError> {
    let asked = views::requests(tx, edge.site, edge.id).await?;
    let is_sample = typed.is_empty();
    let form = match asked.iter().find(|request| request.mac.is_some()) {
        Some(request) if is_sample => TryForm::of(request),
        None if is_sample => {
            let form = TryForm { auth_type: "mab".to_owned(), port_type: "wired".to_owned(), ..typed };
            return Ok(Tryout { form, outcome: Ok(None), is_sample: false });
        }
        _ => typed,
    };
    let outcome = match form.request(edge, &asked) {
        Ok(request) => Ok(Some(decide(tx, member, &request, now).await?)),
        Err(errors) => Err(errors),
    };
    Ok(Tryout { form, outcome, is_sample })
}

async fn decide(
    tx: &mut OrgTx,
    member: &Member,
    request: &AccessRequest,
    now: OffsetDateTime,
) -> Result<Tried, PageError> {
    let snapshot = store::orgs::snapshot(tx).await?.ok_or(PageError::NotFound)?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(tx).await?.into_iter().map(|site| (site.id, site.name)).collect();
    let draft = store::policies::draft(tx).await?;
    let policy = snapshot.policy.as_ref();
    let compiled = policy.map(|published| CompiledPolicy::compile(published.version, &published.doc));
    let candidates = Candidates::of(tx, request).await?;
    let found = candidates.found();
    let ground = Ground { settings: &snapshot.settings, links: &snapshot.links, policy: compiled.as_ref() };
    let answer = answer(ground, request, &found, Uuid::nil().into(), now);
    let vendor = request.nas.vendor.as_deref();
    let told = write(&answer, vendor, None, true);
    let mut reply = Vec::new();
    for (name, told) in told.as_object().into_iter().flatten() {
        let Some(name) = name.strip_prefix("reply:") else { continue };
        let name = name.strip_suffix(":0").unwrap_or(name);
        let values = told["value"].as_array().map_or_else(|| vec![told["value"].clone()], Clone::clone);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            reply.push((name.to_owned(), text));
        }
    }
    let links = Links::new(member, &draft.doc, sites);
    let input = Input { request, found: &found, compliance: &answer.compliance, now };
    let trace = compiled.as_ref().and_then(|policy| retell(policy, &input, &answer.decision));
    let trace = trace.unwrap_or_default();
    Ok(Tried {
        told: Told::of(&answer.decision, &trace, vendor, None, &links),
        version: answer.decision.policy_version,
        device_name: answer.found.device_name,
        compliance: answer.compliance,
        decision: answer.decision,
        reply,
        with_certificate: request.cert.is_some(),
    })
}
