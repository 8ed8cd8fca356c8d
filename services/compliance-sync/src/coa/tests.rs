use domain::coa::hold::HoldState;
use domain::coa::{CoaCause, CoaKind};
use domain::command::CommandState;
use domain::decision::{Outcome, RadiusAttr, Redirect};
use domain::request::AccessRequest;
use domain::{CommandId, EdgeId, HoldId, SessionId, SiteId};
use store::commands::LatestCommand;
use store::sessions::ActiveSession;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::step::{Case, DISCARDED, SAME_AGAIN, Step};

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
        cause: CoaCause::ComplianceChanged,
        to: vlan(to),
        answered_at: Some(NOW - Duration::hours(1)),
        created_at: NOW - Duration::minutes(minutes_ago),
        not_before: None,
        delivered_at: None,
        hold: None,
        changed_since: false,
    }
}

fn case<'a>(session: &'a ActiveSession, wanted: &'a Outcome, latest: Option<&'a LatestCommand>) -> Case<'a> {
    Case {
        session,
        wanted,
        kind: CoaKind::Reauth,
        cause: CoaCause::ComplianceChanged,
        worse: true,
        hold: None,
        latest,
        now: NOW,
        repeat_after: AFTER,
    }
}

fn choose(answered: &str, wanted: &str, latest: Option<&LatestCommand>) -> Step {
    case(&session(vlan(answered)), &vlan(wanted), latest).step()
}

fn send(to: &str) -> Step {
    Step::Send { kind: CoaKind::Reauth, to: vlan(to), hold: None }
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
        Outcome { redirect_url: Some(Redirect::Url("https://example.com/fix".into())), ..vlan("10") },
        Outcome { attrs: vec![RadiusAttr { name: "Idle-Timeout".into(), value: "60".into() }], ..vlan("10") },
    ] {
        let step = |answered, wanted: &Outcome| case(&session(answered), wanted, None).step();
        let send = |to: &Outcome| Step::Send { kind: CoaKind::Reauth, to: to.clone(), hold: None };
        assert_eq!(step(vlan("10"), &wanted), send(&wanted));
        assert_eq!(step(wanted.clone(), &vlan("10")), send(&vlan("10")));
        assert_eq!(step(wanted.clone(), &wanted), Step::Nothing);
    }
    // As sessions and commands held it before there were more results: equal to what is answered now.
    let older = r#"{"permit": true, "vlan": "10", "role": null, "session_timeout": null}"#;
    let older: Outcome = serde_json::from_str(older).unwrap();
    assert_eq!(case(&session(older), &vlan("10"), None).step(), Step::Nothing);
}

#[test]
fn a_command_that_waits_is_enough_superseded_or_withdrawn() {
    for state in [CommandState::Pending, CommandState::Delivered] {
        let waits = command(state, "30", 1);
        assert_eq!(choose("10", "30", Some(&waits)), Step::Nothing);
        assert_eq!(choose("10", "40", Some(&waits)), send("40"));
        assert_eq!(choose("10", "10", Some(&waits)), Step::Withdraw(SAME_AGAIN));
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

#[test]
fn an_admins_wish_is_not_withdrawn() {
    let asked = LatestCommand { cause: CoaCause::AdminAsked, ..command(CommandState::Pending, "10", 1) };
    assert_eq!(choose("10", "10", Some(&asked)), Step::Nothing);
    assert_eq!(choose("10", "30", Some(&asked)), send("30"));
}

#[test]
fn moves_to_a_worse_state_are_held_and_others_are_not() {
    let hold = Some(HoldId(Uuid::from_u128(5)));
    let (session, wanted) = (session(vlan("10")), vlan("30"));
    let case = Case { hold, ..case(&session, &wanted, None) };
    let sent = |hold| Step::Send { kind: CoaKind::Reauth, to: vlan("30"), hold };
    assert_eq!(case.step(), sent(hold));
    assert_eq!(Case { worse: false, ..case }.step(), sent(None));
    assert_eq!(Case { cause: CoaCause::PolicyPublished, ..case }.step(), sent(None));
}

#[test]
fn what_no_edge_was_told_of_follows_the_hold() {
    let id = HoldId(Uuid::from_u128(5));
    let (session, wanted) = (session(vlan("10")), vlan("30"));
    let steps = |state, hold| {
        let latest = command(state, "30", 1);
        Case { hold, ..case(&session, &wanted, Some(&latest)) }.step()
    };
    assert_eq!(steps(CommandState::Pending, Some(id)), Step::Hold(id));
    assert_eq!(steps(CommandState::Delivered, Some(id)), Step::Nothing);
    assert_eq!(steps(CommandState::Held, Some(id)), Step::Nothing);
    assert_eq!(steps(CommandState::Held, None), Step::Release);
    let held = command(CommandState::Held, "30", 1);
    assert_eq!(
        Case { worse: false, hold: Some(id), ..case(&session, &wanted, Some(&held)) }.step(),
        Step::Release
    );
    assert_eq!(choose("10", "10", Some(&held)), Step::Withdraw(SAME_AGAIN));
    assert_eq!(choose("10", "40", Some(&held)), send("40"));
}

#[test]
fn what_an_admin_discarded_stays_away_until_something_changes() {
    let discarded = |state| LatestCommand { hold: Some(HoldState::Discarded), ..command(state, "30", 700) };
    assert_eq!(choose("10", "30", Some(&discarded(CommandState::Held))), Step::Withdraw(DISCARDED));
    let gone = discarded(CommandState::Superseded);
    assert_eq!(choose("10", "30", Some(&gone)), Step::Nothing, "also hours later");
    assert_eq!(choose("10", "40", Some(&gone)), send("40"));
    assert_eq!(choose("10", "10", Some(&gone)), Step::Nothing);
    let changed = LatestCommand { changed_since: true, ..gone.clone() };
    assert_eq!(choose("10", "30", Some(&changed)), send("30"));
    let answered_again = LatestCommand { answered_at: Some(NOW - Duration::hours(2)), ..gone };
    assert_eq!(choose("10", "30", Some(&answered_again)), send("30"));
}

#[test]
fn a_command_that_waited_its_turn_is_given_its_time() {
    let paced = LatestCommand {
        not_before: Some(NOW - Duration::minutes(1)),
        ..command(CommandState::Expired, "30", 11)
    };
    assert_eq!(choose("10", "30", Some(&paced)), Step::Nothing);
}
