//! Who would move, on a real PostgreSQL.

use std::time::Duration;

use domain::compliance::assess;
use domain::decision::{Answer, MatchRecord};
use domain::event::DecisionRecord;
use domain::policy::decide::Input;
use domain::policy::lint::Code;
use domain::policy::transfer::Format;
use domain::policy::{CompiledPolicy, decide};
use domain::request::AccessRequest;
use domain::resolver::{LookupPlan, resolve};
use domain::session::{session_id, session_key};
use domain::snapshot::OrgSettings;
use domain::time::Clock;
use domain::{EdgeId, LinkId, Mac, SiteId};
use policy::{Moving, MovingLimits};
use store::{devices, edges, events, orgs};
use uuid::Uuid;

use crate::world::{World, world};

const LIVE: &str = "
format: gatehouse-policy/1
labels:
  - { name: Compliant, type: match, match: mdm_status, values: [compliant] }
  - { name: Guest, type: match, match: ssid, values: [Guest] }
  - { name: Tag, type: gbp_tag, gbp_tag: 7 }
  - { name: Staff, type: radius_group, radius_group: staff }
  - { name: VLAN 10, type: vlan, vlan: '10' }
  - { name: VLAN 20, type: vlan, vlan: '20' }
  - { name: VLAN 99, type: vlan, vlan: '99' }
rules:
  - { name: Guests, action: allow, matching: { labels: [Guest] }, apply: [VLAN 99] }
  - { name: Corp, action: allow, matching: { labels: [Compliant] }, apply: [VLAN 10] }
  - { name: The rest, action: allow, apply: [VLAN 20] }
";

fn mac(n: u8) -> Mac {
    Mac([0xd4, 0x6e, 0x0e, 0, 0, n])
}

impl World {
    /// Ten sessions of the site's edge: 1 to 3 of compliant devices, 4 and 5 of guests, the others of nobody known.
    async fn sessions(&self) -> (SiteId, EdgeId) {
        let now = self.clock.now();
        let mut tx = self.store.org(self.org).await.unwrap();
        let site = edges::create_site(&mut tx, &self.ids, now, &self.actor, "HQ").await.unwrap().id;
        let edge =
            edges::create_edge(&mut tx, &self.ids, now, &self.actor, site, "Edge").await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let link = LinkId(Uuid::from_u128(7));
        sqlx::query(
            "WITH who AS (INSERT INTO account (id, tid, oid, name, user_name, created_at, signed_in_at)
                          VALUES ($2, $2, $2, 'Ada', 'ada@example.com', $3, $3) RETURNING id)
             INSERT INTO link (org_id, id, provider, tid, tenant_name, state, state_since, linked_by,
                               linked_by_name, linked_at, confirmed_at)
             SELECT $1, $2, 'intune', $2, 'Example', 'connected', $3, id, 'Ada', $3, $3 FROM who",
        )
        .bind(self.org.uuid())
        .bind(link.uuid())
        .bind(now)
        .execute(&self.admin)
        .await
        .unwrap();
        for n in 1..=3 {
            sqlx::query(
                "INSERT INTO device (org_id, link_id, id, ordinal, content_hash, wifi_mac, compliance, fetched_at)
                 VALUES ($1, $2, $3, $4, '\\x00', $5::macaddr, 'compliant', $6)",
            )
            .bind(self.org.uuid())
            .bind(link.uuid())
            .bind(Uuid::from_u128(n.into()))
            .bind(i32::from(n))
            .bind(mac(n).to_string())
            .bind(now)
            .execute(&self.admin)
            .await
            .unwrap();
        }
        let mut tx = self.store.org(self.org).await.unwrap();
        let snapshot = orgs::snapshot(&mut tx).await.unwrap().unwrap();
        let published = snapshot.policy.unwrap();
        let policy = CompiledPolicy::compile(published.version, &published.doc);
        let mut records = Vec::new();
        for n in 1..=10 {
            let mut request = AccessRequest { mac: Some(mac(n)), ..AccessRequest::bare(edge, site) };
            request.ssid = Some(if (4..=5).contains(&n) { "Guest" } else { "Corp" }.to_owned());
            request.nas.vendor = Some("Juniper".to_owned());
            let plan = LookupPlan::of(&request);
            let facts = devices::by_keys(&mut tx, &plan.keys(), devices::CANDIDATES_MAX).await.unwrap();
            let found = resolve(&plan, |key| facts.get(key).map_or(&[], Vec::as_slice));
            let compliance = assess(&found, &snapshot.links, &OrgSettings::default(), now);
            let input = Input { request: &request, found: &found, compliance: &compliance, now };
            let decision = decide(Some(&policy), &input);
            let found = MatchRecord::of(&found);
            let key = session_key(None, request.mac).unwrap();
            records.push(DecisionRecord {
                org: self.org,
                session: session_id(self.org, edge, &key),
                session_key: key,
                answer: Answer { id: self.ids.make(now), at: now, decision, compliance, found },
                keys: plan.keys(),
                offline: false,
                ask: None,
                told_at: None,
                request,
            });
        }
        events::record_batch(&mut tx, &records).await.unwrap();
        tx.commit().await.unwrap();
        (site, edge)
    }

    async fn draft(&self, text: &str) -> i64 {
        let revision = self.service.overview(self.org).await.unwrap().draft.revision;
        self.service.import(self.org, &self.actor, revision, text, Format::Yaml).await.unwrap()
    }

    async fn moving(&self, limits: MovingLimits) -> Moving {
        self.service.moving(self.org, limits).await.unwrap()
    }
}

#[tokio::test]
async fn sessions_that_would_move_are_counted() {
    let world = world().await;
    let revision = world.draft(LIVE).await;
    world.service.publish(world.org, &world.actor, revision).await.unwrap();
    world.sessions().await;
    let all = MovingLimits { page: 3, ..MovingLimits::default() };
    let stays = Moving { draft_revision: revision, sessions: 10, complete: true, ..Moving::default() };
    assert_eq!(world.moving(all).await, stays);

    // Guests are blocked; compliant devices get a tag beside their VLAN, the rest a VLAN of their own and a role.
    let text = LIVE
        .replace(
            "action: allow, matching: { labels: [Guest] }, apply: [VLAN 99]",
            "action: block, matching: { labels: [Guest] }",
        )
        .replace("apply: [VLAN 10]", "apply: [VLAN 10, Tag]")
        .replace("apply: [VLAN 20]", "apply: [VLAN 99, Staff]");
    let draft_revision = world.draft(&text).await;
    let moving = world.moving(all).await;
    assert_eq!(moving, Moving { draft_revision, allowed_to_denied: 2, vlan: 5, other: 3, ..stays });
    assert_eq!(moving.total(), 10);
    let with_role = text.replace("apply: [VLAN 99, Staff]", "apply: [VLAN 20, Staff]");
    let draft_revision = world.draft(&with_role).await;
    let moving = world.moving(all).await;
    assert_eq!(moving, Moving { draft_revision, allowed_to_denied: 2, role: 5, other: 3, ..stays });

    // What was counted before it had to stop is said, and that it stopped.
    let few = world.moving(MovingLimits { sessions_max: 6, ..all }).await;
    assert_eq!((few.sessions, few.complete), (6, false));
    let none = world.moving(MovingLimits { time: Duration::ZERO, ..all }).await;
    assert_eq!((none.sessions, none.complete), (0, false));

    // Another organization's sessions are nobody else's.
    let stranger = world.ids.make(world.clock.now());
    let nobody = world.service.moving(stranger, all).await.unwrap();
    assert_eq!((nobody.sessions, nobody.complete), (0, true));
}

#[tokio::test]
async fn lint_knows_the_sites_and_the_vendors_that_were_seen() {
    let world = world().await;
    let elsewhere = Uuid::from_u128(1);
    let text = LIVE.replace(
        "matching: { labels: [Guest] }",
        &format!("matching: {{ labels: [Guest], site_ids: ['{elsewhere}'], vendors: [juniper, jumper] }}"),
    );
    world.draft(&text).await;
    let codes = async || {
        let findings = world.service.overview(world.org).await.unwrap().findings;
        let about_both = [Code::UnknownSite, Code::UnknownVendor];
        let found = findings.into_iter().filter(|finding| about_both.contains(&finding.code));
        found.map(|finding| (finding.code, finding.message)).collect::<Vec<_>>()
    };
    let before = codes().await;
    assert_eq!(before.len(), 1, "nothing is known of vendors yet: {before:?}");
    assert_eq!(before[0].0, Code::UnknownSite);

    let revision = world.service.overview(world.org).await.unwrap().draft.revision;
    world.service.publish(world.org, &world.actor, revision).await.unwrap();
    world.sessions().await;
    let after = codes().await;
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(after.iter().any(|(code, message)| *code == Code::UnknownVendor && message.contains("“jumper”")));
}
