use domain::command::CommandState;
use domain::decision::RadiusAttr;
use domain::{CommandId, EdgeId, SiteId};
use time::macros::datetime;
use uuid::Uuid;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const AFTER: Duration = Duration::minutes(10);

fn vlan(vlan: &str) -> Outcome {
    Outcome { permit: true, vlan: Some(vlan.to_owned()), ..Outcome::default() }
}

fn session(answered: Outcome) -> ActiveSession {
    let (edge, site) = (EdgeId(Uuid::from_u128(1)), SiteId(Uuid::from_u128(2)));
    ActiveSession {
        id: SessionId(Uuid::from_u128(3)),
        edge,
        site,
        session_key: "s".to_owned(),
        mac: None,
        request: AccessRequest::bare(edge, site),
        outcome: answered,
        lookup_keys: Vec::new(),
        decided_at: NOW - Duration::hours(1),
    }
}

fn command(state: CommandState, to: &str, minutes_ago: i64) -> LatestCommand {
    LatestCommand {
        id: CommandId(Uuid::from_u128(4)),
        state,
        kind: CoaKind::Reauth,
        to: vlan(to),
        answered_at: Some(NOW - Duration::hours(1)),
        created_at: NOW - Duration::minutes(minutes_ago),
    }
}

fn choose(answered: &str, wanted: &str, latest: Option<&LatestCommand>) -> Step {
    step(&session(vlan(answered)), &vlan(wanted), CoaKind::Reauth, latest, NOW, AFTER)
}

fn send(to: &str) -> Step {
    Step::Send { kind: CoaKind::Reauth, to: vlan(to) }
}

#[test]
fn only_a_differing_answer_moves() {
    assert_eq!(choose("10", "10", None), Step::Nothing);
    assert_eq!(choose("10", "30", None), send("30"));
}

#[test]
fn every_result_moves_and_older_records_compare() {
    for wanted in [
        Outcome { egress_vlan_names: vec!["1voice".to_owned()], ..vlan("10") },
        Outcome { gbp_tag: Some(7), ..vlan("10") },
        Outcome { user_name: Some("ada".to_owned()), ..vlan("10") },
        Outcome { redirect_url: Some("https://example.com/fix".to_owned()), ..vlan("10") },
        Outcome { attrs: vec![RadiusAttr { name: "Idle-Timeout".into(), value: "60".into() }], ..vlan("10") },
    ] {
        let step =
            |answered, wanted: &Outcome| step(&session(answered), wanted, CoaKind::Reauth, None, NOW, AFTER);
        let send = |to: &Outcome| Step::Send { kind: CoaKind::Reauth, to: to.clone() };
        assert_eq!(step(vlan("10"), &wanted), send(&wanted));
        assert_eq!(step(wanted.clone(), &vlan("10")), send(&vlan("10")));
        assert_eq!(step(wanted.clone(), &wanted), Step::Nothing);
    }
    // As sessions and commands held it before there were more results: equal to what is answered now.
    let older = r#"{"permit": true, "vlan": "10", "role": null, "session_timeout": null}"#;
    let older: Outcome = serde_json::from_str(older).unwrap();
    assert_eq!(step(&session(older), &vlan("10"), CoaKind::Reauth, None, NOW, AFTER), Step::Nothing);
}

#[test]
fn a_command_that_waits_is_enough_superseded_or_withdrawn() {
    for state in [CommandState::Pending, CommandState::Delivered] {
        let waits = command(state, "30", 1);
        assert_eq!(choose("10", "30", Some(&waits)), Step::Nothing);
        assert_eq!(choose("10", "40", Some(&waits)), send("40"));
        assert_eq!(choose("10", "10", Some(&waits)), Step::Withdraw);
        let other_kind = LatestCommand { kind: CoaKind::Disconnect, ..waits };
        assert_eq!(choose("10", "30", Some(&other_kind)), send("30"));
    }
}

#[test]
fn the_same_answer_is_not_given_up_twice_in_a_row() {
    for state in [CommandState::Acked, CommandState::Failed, CommandState::Expired] {
        assert_eq!(choose("10", "30", Some(&command(state, "30", 9))), Step::Nothing);
        assert_eq!(choose("10", "30", Some(&command(state, "30", 10))), send("30"));
        assert_eq!(choose("10", "40", Some(&command(state, "30", 1))), send("40"));
        assert_eq!(choose("10", "10", Some(&command(state, "30", 1))), Step::Nothing);
        // It came back meanwhile, and was answered from facts that were on their way out.
        let answered_again =
            LatestCommand { answered_at: Some(NOW - Duration::hours(2)), ..command(state, "30", 1) };
        assert_eq!(choose("10", "30", Some(&answered_again)), send("30"));
    }
}
