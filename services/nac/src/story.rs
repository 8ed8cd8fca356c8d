//! The lines of history that a decision leaves beside its own: only those that tell the story. Made from the record
//! alone, under ids made from the decision's, so that recording twice leaves them once.

use domain::EventId;
use domain::decision::{MatchOutcomeName, Reason};
use domain::event::{DecisionRecord, Event, EventKind};
use domain::resolver::MatchKey;
use domain::time::uuid_of;

pub fn of(record: &DecisionRecord) -> Vec<Event> {
    let answer = &record.answer;
    let mut events = Vec::new();
    // An explicit Intune id that nobody bears: a retired device's certificate, or one that no sweep saw yet.
    if answer.found.outcome == MatchOutcomeName::NotEnrolled && answer.found.key == Some(MatchKey::SanUri) {
        let cert = record.request.cert.as_ref();
        events.push(line(
            record,
            EventKind::NacMdmDeviceNotEnrolled,
            "The certificate names an Intune device that is not enrolled".to_owned(),
            serde_json::json!({
                "decision_id": answer.id,
                "san_uri": cert.map(|cert| &cert.san_uri),
                "cn": cert.and_then(|cert| cert.cn.as_ref()),
            }),
        ));
    }
    if answer.decision.reason == Reason::CertificateExpired {
        let cert = record.request.cert.as_ref();
        events.push(line(
            record,
            EventKind::NacClientCertExpired,
            "The client certificate has expired".to_owned(),
            serde_json::json!({
                "decision_id": answer.id,
                "cn": cert.and_then(|cert| cert.cn.as_ref()),
                "serial": cert.and_then(|cert| cert.serial.as_ref()),
                "issuer": cert.and_then(|cert| cert.issuer.as_ref()),
            }),
        ));
    }
    events
}

fn line(record: &DecisionRecord, kind: EventKind, summary: String, detail: serde_json::Value) -> Event {
    let at = record.answer.at;
    Event {
        org: record.org,
        id: EventId(uuid_of(at, &format!("{}/{kind}", record.answer.id))),
        at,
        kind,
        mac: record.request.mac,
        session: Some(record.session),
        edge: Some(record.request.edge),
        site: Some(record.request.site),
        summary,
        detail,
    }
}
