use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;

const T0: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn message(status: AccountingStatus, seconds: i64) -> Accounting {
    let (org, edge, site) = (OrgId(Uuid::nil()), EdgeId(Uuid::nil()), SiteId(Uuid::nil()));
    let at = T0 + Duration::seconds(seconds);
    Accounting {
        org,
        id: EventId(uuid_of(at, status.as_str())),
        edge,
        site,
        session: session_id(org, edge, "s"),
        session_key: "s".to_owned(),
        acct_session_id: None,
        status,
        at,
        mac: None,
        user_name: None,
        framed_ip: Some(IpAddr::from([10, 0, 0, 7])),
        bytes_in: Some(seconds),
        bytes_out: None,
        session_seconds: None,
        terminate_cause: None,
    }
}

fn decided(seconds: i64) -> Stay {
    let mut stay = Stay::unknown(&message(AccountingStatus::Start, seconds));
    stay.decided_at = Some(T0 + Duration::seconds(seconds));
    stay
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn a_stay_tells_its_story_once() {
    let mut stay = decided(0);
    let start = message(AccountingStatus::Start, 1);
    assert_eq!(kinds(&stay.apply(&start)), ["NAC_SESSION_STARTED", "NAC_CLIENT_IP_ASSIGNED"]);
    assert_eq!(kinds(&stay.apply(&start)), [""; 0], "a repeat");
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Interim, 300))), [""; 0]);
    assert_eq!(stay.bytes_in, Some(300));
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Interim, 200))), [""; 0], "late");
    assert_eq!(stay.bytes_in, Some(300));
    let stop = message(AccountingStatus::Stop, 600);
    assert_eq!(kinds(&stay.apply(&stop)), ["NAC_SESSION_ENDED"]);
    assert_eq!(kinds(&stay.apply(&stop)), [""; 0]);
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Interim, 700))), [""; 0], "stop wins");
    assert_eq!(stay.ended_at, Some(stop.at));
    assert_eq!(
        kinds(&stay.apply(&message(AccountingStatus::Start, 800)))[0],
        "NAC_SESSION_STARTED",
        "a new stay"
    );
    assert_eq!((stay.ended_at, stay.bytes_in), (None, Some(800)));
}

#[test]
fn a_stop_of_an_earlier_stay_ends_nothing() {
    let mut stay = decided(100);
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Stop, 50))), [""; 0]);
    assert_eq!(stay.ended_at, None);
    assert_eq!(
        kinds(&stay.apply(&message(AccountingStatus::Stop, 100))),
        ["NAC_SESSION_STARTED", "NAC_SESSION_ENDED"]
    );
}

#[test]
fn a_stop_is_of_the_second_in_which_it_was_decided() {
    let mut stay = decided(100);
    stay.decided_at = stay.decided_at.map(|at| at + Duration::microseconds(700_000));
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Stop, 99))), [""; 0]);
    assert_eq!(
        kinds(&stay.apply(&message(AccountingStatus::Stop, 100))),
        ["NAC_SESSION_STARTED", "NAC_SESSION_ENDED"]
    );
}

#[test]
fn a_slow_clock_keeps_no_stay_open_that_bears_its_name() {
    let mut stay = decided(3_600);
    stay.apply(&of_stay("a", AccountingStatus::Start, 1));
    assert_eq!(kinds(&stay.apply(&of_stay("b", AccountingStatus::Stop, 300))), [""; 0], "another stay");
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Stop, 300))), [""; 0], "nobody knows which");
    let stop = of_stay("a", AccountingStatus::Stop, 300);
    assert_eq!(kinds(&stay.apply(&stop)), ["NAC_SESSION_ENDED"]);
    assert_eq!(kinds(&stay.apply(&stop)), [""; 0]);
    assert_eq!((stay.started_at, stay.ended_at), (T0 + Duration::seconds(1), Some(stop.at)));

    // Heard of for the first time by an interim update: it did not begin after its end.
    let mut stay = decided(3_600);
    stay.apply(&of_stay("a", AccountingStatus::Interim, 200));
    stay.apply(&stop);
    assert!(stay.started_at <= stay.ended_at.unwrap());

    // It was silent since it was decided.
    let mut stay = decided(3_600);
    stay.apply(&of_stay("a", AccountingStatus::Start, 1));
    stay.ended_at = stay.decided_at;
    stay.terminate_cause = Some(ENDED_BY_SILENCE.to_owned());
    assert_eq!(kinds(&stay.apply(&stop)), ["NAC_SESSION_ENDED"]);
}

#[test]
fn a_stay_may_begin_in_the_second_in_which_another_ended() {
    let mut stay = decided(0);
    stay.apply(&of_stay("a", AccountingStatus::Start, 1));
    stay.apply(&of_stay("a", AccountingStatus::Stop, 300));
    let start = of_stay("b", AccountingStatus::Start, 300);
    assert_eq!(kinds(&stay.apply(&start))[0], "NAC_SESSION_STARTED");
    assert_eq!((stay.ended_at, stay.acct_session_id.as_deref()), (None, Some("b")));
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Stop, 300))), [""; 0], "a repeat");
    assert_eq!(stay.ended_at, None);
}

#[test]
fn a_restart_ends_for_good_unless_the_stay_goes_on() {
    let restarted = || {
        let mut stay = decided(0);
        stay.apply(&of_stay("a", AccountingStatus::Start, 1));
        stay.ended_at = Some(T0 + Duration::seconds(300));
        stay.terminate_cause = Some(ENDED_BY_NAS_RESTART.to_owned());
        stay
    };
    let mut stay = restarted();
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Interim, 200))), [""; 0], "late");
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Stop, 299))), [""; 0], "told already");
    assert!(stay.ended_at.is_some());
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Interim, 400))), ["NAC_SESSION_STARTED"]);
    assert_eq!(stay.ended_at, None);
    assert_eq!(kinds(&restarted().apply(&of_stay("b", AccountingStatus::Interim, 400))), [""; 0]);
}

#[test]
fn a_clock_is_believed_within_reason() {
    let now = T0 + Duration::microseconds(5);
    let (week, minute) = (Duration::days(7), Duration::minutes(1));
    let at = |told, delay| happened_at(told, delay, now, week.try_into().unwrap());
    let ago = |ago| Some(now - ago);
    assert_eq!(at(ago(minute), minute), now - minute);
    assert_eq!(at(ago(-minute), Duration::ZERO), now, "ahead");
    assert_eq!(at(ago(Duration::days(30)), minute), now - week, "old");
    for unset in [None, Some(OffsetDateTime::UNIX_EPOCH), Some(datetime!(2019-05-01 00:00 UTC))] {
        assert_eq!(at(unset, Duration::ZERO), now, "{unset:?}");
        assert_eq!(at(unset, minute), now - minute, "{unset:?}");
    }
}

fn of_stay(name: &str, status: AccountingStatus, seconds: i64) -> Accounting {
    Accounting { acct_session_id: Some(name.to_owned()), ..message(status, seconds) }
}

#[test]
fn a_late_start_of_an_ended_stay_opens_nothing_whatever_its_time() {
    let mut stay = decided(0);
    stay.apply(&of_stay("a", AccountingStatus::Start, 1));
    stay.apply(&of_stay("a", AccountingStatus::Stop, 300));
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Start, 500))), [""; 0]);
    assert!(stay.ended_at.is_some());
    assert_eq!(kinds(&stay.apply(&of_stay("b", AccountingStatus::Start, 500)))[0], "NAC_SESSION_STARTED");
    assert_eq!((stay.ended_at, stay.acct_session_id.as_deref()), (None, Some("b")));
}

#[test]
fn a_stop_of_another_stay_ends_nothing_whatever_its_time() {
    let mut stay = decided(0);
    stay.apply(&of_stay("a", AccountingStatus::Start, 1));
    stay.apply(&of_stay("b", AccountingStatus::Start, 100));
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Stop, 101))), [""; 0]);
    assert_eq!(stay.ended_at, None);
    assert_eq!(kinds(&stay.apply(&of_stay("b", AccountingStatus::Stop, 200))), ["NAC_SESSION_ENDED"]);
}

#[test]
fn what_was_only_silent_goes_on_or_ends_properly() {
    let silent = || {
        let mut stay = decided(0);
        stay.apply(&of_stay("a", AccountingStatus::Start, 1));
        stay.apply(&of_stay("a", AccountingStatus::Interim, 601));
        assert_eq!(stay.interim_seconds, Some(600));
        stay.ended_at = stay.accounted_at;
        stay.terminate_cause = Some(ENDED_BY_SILENCE.to_owned());
        stay
    };
    let mut stay = silent();
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Interim, 601))), [""; 0], "a repeat");
    assert!(stay.ended_at.is_some());
    assert_eq!(kinds(&stay.apply(&of_stay("a", AccountingStatus::Interim, 9_000))), ["NAC_SESSION_STARTED"]);
    assert_eq!((stay.ended_at, stay.terminate_cause), (None, None));
    let mut stay = silent();
    let stop = of_stay("a", AccountingStatus::Stop, 9_000);
    assert_eq!(kinds(&stay.apply(&stop)), ["NAC_SESSION_ENDED"]);
    assert_eq!(kinds(&stay.apply(&stop)), [""; 0]);
    assert_eq!((stay.ended_at, stay.bytes_in), (Some(stop.at), Some(9_000)));
}

proptest! {
    /// The same where the NAS's clock is an hour slow and the stay bears a name, once its start is known.
    #[test]
    fn order_does_not_matter_to_a_slow_clock(order in Just(vec![0, 1, 2, 0, 1, 2]).prop_shuffle()) {
        let messages = [
            of_stay("a", AccountingStatus::Interim, 100),
            of_stay("a", AccountingStatus::Interim, 200),
            of_stay("a", AccountingStatus::Stop, 300),
        ];
        let mut stay = decided(3_600);
        stay.apply(&of_stay("a", AccountingStatus::Start, 1));
        let events: Vec<Event> = order.iter().flat_map(|i| stay.apply(&messages[*i])).collect();
        prop_assert_eq!(stay.ended_at, Some(messages[2].at));
        prop_assert_eq!(stay.bytes_in, Some(300));
        prop_assert_eq!(kinds(&events), ["NAC_SESSION_ENDED"]);
    }

    /// Whatever the order and however often they come: the stop decides, and each line of history is told once.
    #[test]
    fn order_does_not_matter(order in Just(vec![0, 1, 2, 3, 0, 1, 2, 3]).prop_shuffle()) {
        let mut messages = [
            message(AccountingStatus::Start, 1),
            message(AccountingStatus::Interim, 100),
            message(AccountingStatus::Interim, 200),
            message(AccountingStatus::Stop, 300),
        ];
        for n in [0, 1, 3] {
            messages[n].framed_ip = None;
        }
        let mut stay = decided(0);
        let events: Vec<Event> = order.iter().flat_map(|i| stay.apply(&messages[*i])).collect();
        prop_assert_eq!(stay.ended_at, Some(messages[3].at));
        prop_assert_eq!(stay.bytes_in, Some(300));
        prop_assert_eq!(stay.started_at, messages[0].at);
        prop_assert_eq!(stay.framed_ip, messages[2].framed_ip, "only one of them tells the address");
        let ended = events.iter().filter(|event| event.kind == EventKind::NacSessionEnded).count();
        let started = events.iter().filter(|event| event.kind == EventKind::NacSessionStarted).count();
        prop_assert_eq!(ended, 1);
        prop_assert_eq!(started, 1);
    }
}
