//! An organization whose pages have something to show.

use domain::coa::hold::{Hold, HoldState};
use domain::coa::{CoaCause, CoaKind};
use domain::compliance::assess;
use domain::decision::{Answer, MatchRecord, Outcome};
use domain::device::{ComplianceState, DeviceFacts};
use domain::event::DecisionRecord;
use domain::link::LinkState;
use domain::policy::decide::{Input, decide};
use domain::policy::edit::Edit;
use domain::policy::{Action, CompiledPolicy, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use domain::request::{AccessRequest, AuthType, Certificate, Nas, PortType};
use domain::resolver::{LookupPlan, resolve};
use domain::session::{Accounting, AccountingStatus, session_id, session_key};
use domain::time::{Clock as _, Ids, SystemClock};
use domain::{DecisionId, DeviceId, EdgeId, LabelId, LinkId, Mac, OrgId, RuleId, SiteId};
use policy::Policies;
use store::audit::Actor;
use store::commands::NewCommand;
use store::devices::DeviceWrite;
use store::links::NewLink;
use store::runs::Counts;
use store::{accounts, commands, devices, edges, events, holds, jobs, links, orgs, runs, transitions};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Browser, Tenant, World};

impl World {
    /// An organization that lives: a link, a fleet of `devices`, a published policy with a draft on top, edges,
    /// and a day of `decisions`. `spice` goes into every text that comes from outside.
    pub async fn tenant(&self, name: &str, spice: &str, devices: u32, decisions: u32) -> (Tenant, Browser) {
        let (now, ids) = (self.now(), &self.ids);
        let tid = ids.uuid(now);
        let admin_name = format!("Ada Lovelace{spice}");
        let (account, browser) = self.person(tid, &admin_name, "ada@contoso.example").await;
        let actor = Actor { account: Some(account), name: admin_name.clone() };
        let org: OrgId = ids.make(now);
        let mut tx = self.store.org(org).await.unwrap();
        let new = accounts::NewOrg {
            home_cloud: "global",
            name,
            home_tid: tid,
            admin: account,
            admin_name: &admin_name,
        };
        let site = accounts::create_org(&mut tx, ids, now - Duration::days(9), new).await.unwrap();
        let campus =
            edges::create_site(&mut tx, ids, now, &actor, &format!("Campus North{spice}")).await.unwrap();
        let edge_name = format!("radius-1{spice}");
        let edge = edges::create_edge(&mut tx, ids, now, &actor, site, &edge_name).await.unwrap().unwrap();
        edges::issue_credential(&mut tx, ids, now, &actor, edge).await.unwrap().unwrap();
        let other =
            edges::create_edge(&mut tx, ids, now, &actor, campus.id, "vpn-gateway").await.unwrap().unwrap();
        let link: LinkId = ids.make(now);
        let new = NewLink {
            id: link,
            cloud: "global",
            app: None,
            tid,
            tenant_name: &format!("Contoso Ltd{spice}"),
            linked_by: account,
            linked_by_name: &admin_name,
        };
        links::insert(&mut tx, now - Duration::days(8), new).await.unwrap();
        jobs::create(&mut tx, link, jobs::JobKind::Sweep, now + Duration::minutes(7)).await.unwrap();
        for run in (1..6).rev() {
            let id = ids.uuid(now);
            let at = now - Duration::minutes(15 * run);
            runs::start(&mut tx, link, id, at).await.unwrap();
            let counts = Counts { pages: 1, seen: devices, changed: 3, transitions: 1 };
            runs::progress(&mut tx, id, counts).await.unwrap();
            let error = (run == 3).then(|| format!("Microsoft asks to slow down (429){spice}"));
            runs::finish(&mut tx, id, at + Duration::milliseconds(2_340), error.as_deref()).await.unwrap();
        }
        links::confirmed(&mut tx, link, now - Duration::minutes(15)).await.unwrap();
        links::set_state(&mut tx, link, LinkState::Connected, None, now - Duration::hours(20)).await.unwrap();
        let fleet = fleet(link, devices, now, spice);
        let first = devices::take_ordinals(&mut tx, link, devices).await.unwrap();
        let writes: Vec<_> = (first..)
            .zip(&fleet)
            .map(|(ordinal, facts)| DeviceWrite {
                facts: facts.clone(),
                ordinal,
                content_hash: [7; 32],
                udid: None,
                raw: (ordinal % 2 == 1).then(|| {
                    serde_json::json!({
                        "id": facts.id, "deviceName": facts.name, "complianceState": facts.compliance,
                        "notes": format!("as fetched{spice}"), "isEncrypted": true, "freeStorageSpaceInBytes": 1234,
                    })
                }),
                single: false,
                next_look_at: (ordinal % 5 == 1).then(|| now + Duration::seconds(40)),
                idle_looks: 0,
            })
            .collect();
        devices::upsert(&mut tx, link, &writes).await.unwrap();
        if let Some(device) = fleet.get(1) {
            let change = |from: Option<&str>, to: &str, ago| transitions::Transition {
                id: ids.make(now),
                link,
                device: device.id,
                at: now - ago,
                from: from.map(|s| s.to_owned().into()),
                to: Some(to.to_owned().into()),
                noticed_by: from.map(|_| jobs::JobKind::Look),
                visible_after: from.map(|_| now - ago - Duration::seconds(75)),
            };
            let changes = [
                change(None, "compliant", Duration::days(8)),
                change(Some("compliant"), "noncompliant", Duration::hours(3)),
            ];
            transitions::record(&mut tx, &changes).await.unwrap();
        }
        orgs::changed(&mut tx, ids, now, false).await.unwrap();
        tx.commit().await.unwrap();

        let (doc, labels, rules) = policy_doc(spice);
        let policies = Policies::new(self.store.clone(), self.clock.clone(), ids.clone());
        let edit = |revision, edit| policies.edit(org, &actor, revision, edit);
        let revision = edit(1, Edit::Replace(doc.clone())).await.unwrap();
        policies.publish(org, &actor, revision).await.unwrap();
        let revision = edit(revision, Edit::SetRuleEnabled { id: rules[3], enabled: false }).await.unwrap();
        let version = policies.publish(org, &actor, revision).await.unwrap();
        edit(revision, Edit::MoveRule { id: rules[2], to: 1 }).await.unwrap();
        let live = policies.overview(org).await.unwrap().live.unwrap().1;

        let mut tenant = Tenant {
            org,
            tid,
            link,
            site,
            edge,
            labels,
            rules,
            events: Vec::new(),
            sessions: Vec::new(),
            macs: Vec::new(),
            devices: fleet.iter().take(4).map(|device| device.id).collect(),
            hold: ids.make(now),
        };
        self.decisions(&mut tenant, &live, version, &fleet, other, decisions, spice).await;
        (tenant, browser)
    }

    #[expect(clippy::too_many_arguments, reason = "a test's own")]
    async fn decisions(
        &self,
        tenant: &mut Tenant,
        doc: &PolicyDoc,
        version: i32,
        fleet: &[DeviceFacts],
        vpn: EdgeId,
        decisions: u32,
        spice: &str,
    ) {
        let (now, ids) = (self.now(), &self.ids);
        events::ensure_partitions(&self.store, now).await.unwrap();
        let compiled = CompiledPolicy::compile(version, doc);
        let mut tx = self.store.org(tenant.org).await.unwrap();
        let snapshot = orgs::snapshot(&mut tx).await.unwrap().unwrap();
        let mut records = Vec::new();
        for n in 0..decisions {
            // More of them in the middle of the day.
            let back = i64::from(n) * 86_000 / i64::from(decisions.max(1));
            let wave = (back / 3600 + 5) % 7;
            let at = now - Duration::seconds((back - wave * 311).max(i64::from(n)));
            let device = &fleet[(n as usize * 7) % fleet.len()];
            let (edge, site) = if n % 11 == 10 { (vpn, tenant.site) } else { (tenant.edge, tenant.site) };
            let request = request(n, device, edge, site, at, spice);
            let plan = LookupPlan::of(&request);
            let bearers = |key: &domain::resolver::LookupKey| match fleet
                .iter()
                .position(|d| domain::resolver::keys_of(d).contains(key))
            {
                Some(index) => std::slice::from_ref(&fleet[index]),
                None => &[],
            };
            let found = resolve(&plan, bearers);
            let compliance = assess(&found, &snapshot.links, &snapshot.settings, at);
            let input = Input { request: &request, found: &found, compliance: &compliance, now: at };
            let decision = decide(Some(&compiled), &input);
            let id: DecisionId = ids.make(at);
            let answer = Answer { id, at, decision, found: MatchRecord::of(&found), compliance };
            let key = session_key(request.session_id.as_deref(), request.mac).unwrap();
            let session = session_id(tenant.org, edge, &key);
            tenant.events.push(id);
            tenant.sessions.push(session);
            tenant.macs.extend(request.mac);
            let keys = plan.keys();
            records.push(DecisionRecord {
                org: tenant.org,
                session,
                session_key: key,
                request,
                answer,
                keys,
                offline: false,
                ask: None,
                told_at: None,
            });
        }
        events::record_batch(&mut tx, &records).await.unwrap();
        for (n, record) in records.iter().enumerate().filter(|(_, r)| r.answer.decision.outcome.permit) {
            let message = |status, at| Accounting {
                org: tenant.org,
                id: ids.make(at),
                edge: record.request.edge,
                site: record.request.site,
                session: record.session,
                session_key: record.session_key.clone(),
                acct_session_id: None,
                status,
                at,
                mac: record.request.mac,
                user_name: record.request.user_name.clone(),
                framed_ip: Some(format!("10.20.{}.{}", n / 250, n % 250 + 1).parse().unwrap()),
                bytes_in: Some(1_234_567 * (n as i64 + 1)),
                bytes_out: Some(23_456 * (n as i64 + 1)),
                session_seconds: None,
                terminate_cause: (status == AccountingStatus::Stop).then(|| format!("User-Request{spice}")),
            };
            events::apply_accounting(&mut tx, &message(AccountingStatus::Start, record.answer.at))
                .await
                .unwrap();
            if n % 3 == 0 && record.answer.at < now - Duration::hours(1) {
                let stop = message(AccountingStatus::Stop, record.answer.at + Duration::minutes(50));
                events::apply_accounting(&mut tx, &stop).await.unwrap();
            }
        }
        self.hold(&mut tx, tenant, &records).await;
        if let Some(record) = records.iter().find(|r| r.answer.decision.outcome.permit) {
            let command = NewCommand {
                edge: record.request.edge,
                site: record.request.site,
                session: record.session,
                session_key: record.session_key.clone(),
                mac: record.request.mac,
                kind: CoaKind::Reauth,
                cause: CoaCause::ComplianceChanged,
                from: record.answer.decision.outcome.clone(),
                to: Outcome::DENY,
                answered_at: Some(record.answer.at),
                expires_at: now + Duration::minutes(5),
            };
            commands::insert(&mut tx, ids, now, command).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}

impl World {
    /// Too much of the fleet turned worse: the moves of the latest sessions wait for an admin.
    async fn hold(&self, tx: &mut store::OrgTx, tenant: &Tenant, records: &[DecisionRecord]) {
        let now = self.now();
        let hold = Hold {
            id: tenant.hold,
            link: tenant.link,
            state: HoldState::Open,
            opened_at: now - Duration::minutes(4),
            counted_since: now - Duration::minutes(6),
            worse: 61,
            fleet: 120,
            decided_at: None,
            decided_by: None,
        };
        holds::save(tx, &hold).await.unwrap();
        holds::note_turns(tx, tenant.link, &tenant.devices, &[], now - Duration::minutes(5)).await.unwrap();
        let matched = records.iter().filter(|record| record.answer.found.device.is_some());
        // Some clients are left alone.
        for (_, record) in matched.enumerate().filter(|(n, _)| n % 4 != 0).take(60) {
            let command = NewCommand {
                edge: record.request.edge,
                site: record.request.site,
                session: record.session,
                session_key: record.session_key.clone(),
                mac: record.request.mac,
                kind: CoaKind::Reauth,
                cause: CoaCause::ComplianceChanged,
                from: record.answer.decision.outcome.clone(),
                to: Outcome::DENY,
                answered_at: Some(record.answer.at),
                expires_at: now + Duration::minutes(5),
            };
            let plan = commands::Plan {
                hold: Some(tenant.hold),
                link: record.answer.found.link,
                device: record.answer.found.device,
                noticed_at: Some(now - Duration::minutes(4)),
                ..commands::Plan::default()
            };
            commands::plan(tx, &self.ids, now, command, plan).await.unwrap();
        }
    }
}

fn request(
    n: u32,
    device: &DeviceFacts,
    edge: EdgeId,
    site: SiteId,
    at: OffsetDateTime,
    spice: &str,
) -> AccessRequest {
    let nas = |port_type, vendor: &str, identifier: &str| Nas {
        ip: Some("192.0.2.10".parse().unwrap()),
        identifier: Some(format!("{identifier}{spice}")),
        vendor: Some(vendor.to_owned()),
        port_type: Some(port_type),
        port_id: Some("ge-0/0/12".to_owned()),
    };
    let cert = Certificate {
        cn: device.name.clone(),
        subject: device.name.as_ref().map(|name| format!("CN={name},O=Contoso{spice}")),
        issuer: Some(format!("CN=Contoso Issuing CA 2{spice}")),
        serial: Some("4a:00:19:d3".to_owned()),
        not_after: Some(at + Duration::days(if n % 29 == 28 { -2 } else { 200 })),
        san_uri: vec![format!("ID:Microsoft Endpoint Manager:GUID:{}", device.id)],
        san_dns: vec![],
        san_upn: device.user_principal_name.clone().into_iter().collect(),
        ..Certificate::default()
    };
    let base = AccessRequest {
        mac: device.wifi_mac,
        user_name: device.user_principal_name.clone(),
        session_id: Some(format!("s-{n:05}{spice}")),
        ..AccessRequest::bare(edge, site)
    };
    match n % 11 {
        8 => AccessRequest {
            // A guest's phone with a randomized address.
            mac: Some(Mac([0xda, 0xa1, 0x19, 0, 0, u8::try_from(n % 200).unwrap()])),
            user_name: None,
            auth_type: Some(AuthType::Psk),
            ssid: Some(format!("Contoso-Guest{spice}")),
            nas: nas(PortType::Wireless, "juniper", "ap-lobby"),
            ..base
        },
        9 => AccessRequest {
            auth_type: Some(AuthType::Mab),
            user_name: None,
            nas: nas(PortType::Wired, "cisco-ios", "sw-floor-2"),
            ..base
        },
        10 => AccessRequest {
            mac: None,
            auth_type: Some(AuthType::EapTls),
            nas: nas(PortType::Vpn, "paloalto", "vpn-1"),
            cert: Some(cert),
            ..base
        },
        _ => AccessRequest {
            auth_type: Some(AuthType::EapTls),
            ssid: Some(format!("Contoso-Corp{spice}")),
            nas: nas(PortType::Wireless, "juniper", "ap-floor-3"),
            cert: Some(cert),
            ..base
        },
    }
}

fn fleet(link: LinkId, n: u32, now: OffsetDateTime, spice: &str) -> Vec<DeviceFacts> {
    let state = |i: u32| match i % 20 {
        1 | 8 => ComplianceState::Noncompliant,
        3 => ComplianceState::InGracePeriod,
        5 => ComplianceState::Unknown,
        11 => ComplianceState::Error,
        13 => ComplianceState::Conflict,
        17 => ComplianceState::Other(format!("quarantined{spice}")),
        _ => ComplianceState::Compliant,
    };
    let device = |i: u32| {
        let id = DeviceId(Uuid::from_u128(0x5a1e_0000_0000_4000_8000_0000_0000_0000 + u128::from(i)));
        let mut facts = DeviceFacts::bare(link, id, state(i), now - Duration::minutes(15));
        let [_, a, b, c] = i.to_be_bytes();
        facts.name = Some(format!("CONTOSO-LT-{i:04}{spice}"));
        facts.serial = Some(format!("5CG{i:07}"));
        facts.wifi_mac = Some(Mac([0xd4, 0x6e, 0x0e, a, b, c]));
        facts.last_check_in = Some(now - Duration::minutes(i64::from(17 * i % 400)));
        facts.grace_expires_at =
            (i % 20 == 3).then(|| now + Duration::days(i64::from(i % 3)) - Duration::hours(1));
        facts.os = Some("Windows".to_owned());
        facts.os_version = Some("10.0.26100.2314".to_owned());
        facts.manufacturer = Some("HP".to_owned());
        facts.model = Some(format!("EliteBook 840 G11{spice}"));
        facts.user_principal_name = Some(format!("user{i}@contoso.example{spice}"));
        facts.enrolled_at = Some(now - Duration::days(90));
        if i % 37 == 36 {
            facts.missing_since = Some(now - Duration::days(2));
            facts.fetched_at = now - Duration::days(2);
        }
        facts
    };
    (0..n).map(device).collect()
}

/// The guide's policy and a little more: labels in the order of [`Tenant::labels`], rules in that of
/// [`Tenant::rules`].
pub fn policy_doc(spice: &str) -> (PolicyDoc, Vec<LabelId>, Vec<RuleId>) {
    let ids = Ids::seeded(40);
    let at = SystemClock.now();
    let label = |name: &str, kind| Label { id: ids.make(at), name: format!("{name}{spice}"), kind };
    let is = |key, values: &[&str]| LabelKind::Match {
        key,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        match_all: false,
    };
    let labels = vec![
        label("Compliant", is(MatchLabelKey::MdmStatus, &["compliant"])),
        label("Not compliant", is(MatchLabelKey::MdmStatus, &["non-compliant", "unknown"])),
        label("Corp SSID", is(MatchLabelKey::Ssid, &["Contoso-Corp*", "*-Lab"])),
        label("Guest SSID", is(MatchLabelKey::Ssid, &["*Guest*"])),
        label("Printers", is(MatchLabelKey::ClientMac, &["d46e0e*", "00:11:22:33:44:55"])),
        label("Sure match", is(MatchLabelKey::MatchStrength, &["certificate"])),
        label("Corp VLAN", LabelKind::Vlan { vlan: "10".to_owned() }),
        label("Quarantine VLAN", LabelKind::Vlan { vlan: "quarantine".to_owned() }),
        label("Employee", LabelKind::RadiusGroup { radius_group: "employee".to_owned() }),
        label("Working day", LabelKind::SessionTimeout { session_timeout: 28_800 }),
    ];
    let of = |indexes: &[usize]| indexes.iter().map(|i| labels[*i].id).collect::<Vec<_>>();
    let rule = |name: &str, action, matching, not_matching, apply: &[usize]| Rule {
        id: ids.make(at),
        name: format!("{name}{spice}"),
        comment: String::new(),
        enabled: true,
        dry_run: false,
        action,
        matching,
        not_matching,
        apply: of(apply),
    };
    let with = |labels: &[usize]| Conditions { labels: of(labels), ..Conditions::default() };
    let rules = vec![
        rule(
            "Compliant laptops",
            Action::Allow,
            Conditions { auth_types: vec!["cert".parse().unwrap()], ..with(&[0, 5]) },
            Conditions::default(),
            &[6, 8, 9],
        ),
        rule("Quarantine the rest of corp", Action::Allow, with(&[1, 2]), with(&[3]), &[7]),
        rule(
            "No printers on VPN",
            Action::Block,
            Conditions {
                port_types: vec![PortType::Vpn],
                vendors: vec!["paloalto".to_owned()],
                ..with(&[4])
            },
            Conditions::default(),
            &[],
        ),
        rule("Everybody, while we test", Action::Allow, Conditions::default(), Conditions::default(), &[7]),
    ];
    let (label_ids, rule_ids) = (labels.iter().map(|l| l.id).collect(), rules.iter().map(|r| r.id).collect());
    (PolicyDoc { labels, rules, ..PolicyDoc::default() }, label_ids, rule_ids)
}
