use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;

fn record(path: &str, body: &Value) -> Record {
    Record { path: path.to_owned(), body: body.to_string(), at: datetime!(2026-11-20 12:00 UTC) }
}

fn told(events: &[u64]) -> Record {
    record(events::PATH, &json!({"events": events.iter().map(|n| json!({"n": n})).collect::<Vec<_>>()}))
}

fn accounting() -> Record {
    record("/v1/nac/accounting", &json!({"status": "start"}))
}

fn numbers(groups: &[Group]) -> Vec<Vec<u64>> {
    groups.iter().map(|group| group.numbers().collect()).collect()
}

#[test]
fn events_next_to_each_other_go_together_and_all_else_alone() {
    let more = record(events::PATH, &json!({"events": [], "note": "not ours to drop"}));
    let records = [
        told(&[1]),
        told(&[2, 3]),
        accounting(),
        accounting(),
        told(&[4]),
        more.clone(),
        told(&[5]),
        told(&[]),
    ];
    let groups = gather((0..).zip(records.clone()).collect());
    assert_eq!(numbers(&groups), [vec![0, 1], vec![2], vec![3], vec![4], vec![5], vec![6, 7]]);
    assert_eq!(groups[0].path(), events::PATH);
    assert_eq!(groups[0].body(), json!({"events": [{"n": 1}, {"n": 2}, {"n": 3}]}).to_string());
    assert_eq!((groups[1].path(), groups[1].body()), ("/v1/nac/accounting", records[2].body.clone()));
    assert_eq!(groups[4].body(), more.body);
}

#[test]
fn a_group_is_bounded_by_events_and_bytes() {
    let half: Vec<u64> = (0..250).collect();
    let groups = gather((0..).zip([told(&half), told(&half), told(&[1])]).collect());
    assert_eq!(numbers(&groups), [vec![0, 1], vec![2]]);
    let long = record(events::PATH, &json!({"events": ["x".repeat(BYTES_MAX / 2)]}));
    let groups = gather((0..).zip([long.clone(), long.clone(), long]).collect());
    assert_eq!(numbers(&groups), [vec![0], vec![1], vec![2]]);
}

#[test]
fn a_refusal_names_the_record_whose_event_it_is() {
    let records = [told(&[1, 2]), told(&[]), told(&[3])];
    let [group] = &gather((7..).zip(records).collect())[..] else { panic!("one group") };
    let problem = |n: usize| json!({"field": format!("events[{n}]"), "code": "out_of_range", "message": "too far back"});
    let answer = json!({"taken": 1, "refused": [problem(1), problem(2), problem(3), {"field": "events"}]});
    let refusals = group.refusals(answer.to_string().as_bytes());
    assert_eq!(refusals.iter().map(|refusal| refusal.record).collect::<Vec<_>>(), [7, 9]);
    assert_eq!((refusals[0].code.as_str(), refusals[0].message.as_str()), ("out_of_range", "too far back"));
    assert!(group.refusals(b"").is_empty() && group.refusals(b"<html>").is_empty());
    // Whatever is said of accounting, it names no event.
    let [group] = &gather(vec![(1, accounting())])[..] else { panic!("one group") };
    assert!(group.refusals(answer.to_string().as_bytes()).is_empty());
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_overtaken(kinds in prop::collection::vec(0u64..4, 0..40)) {
        let record_of = |kind: &u64| match *kind {
            0 => accounting(),
            events => told(&(0..events).collect::<Vec<_>>()),
        };
        let records: Vec<(u64, Record)> = (0..).zip(kinds.iter().map(record_of)).collect();
        let groups = gather(records.clone());
        let kept: Vec<(u64, Record)> = groups.iter().flat_map(|group| group.records.clone()).collect();
        prop_assert_eq!(&kept, &records);
        // Halves, and halves of those, down to the records as they came.
        let (mut left, mut single) = (groups, Vec::new());
        while let Some(group) = left.pop() {
            match group.halves() {
                Ok([first, rest]) => left.extend([first, rest]),
                Err(one) => {
                    prop_assert_eq!(one.body(), one.records[0].1.body.clone());
                    single.push(one.records[0].clone());
                }
            }
        }
        single.reverse();
        prop_assert_eq!(single, records);
    }
}
