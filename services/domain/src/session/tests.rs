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
    assert_eq!(kinds(&stay.apply(&message(AccountingStatus::Stop, 100))), ["NAC_SESSION_ENDED"]);
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
        prop_assert!(started <= 1);
    }
}
