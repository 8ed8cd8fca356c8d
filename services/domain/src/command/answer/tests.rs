use std::fmt::Write as _;

use super::*;

fn answer(result: NasResult, cause: impl Into<Option<u32>>) -> NasAnswer {
    NasAnswer { result, error_cause: cause.into().map(ErrorCause) }
}

#[test]
fn what_follows_from_each_answer() {
    use NasResult::{Ack, Nak, Timeout};
    let table = [
        (answer(Ack, None), Next::Done),
        (answer(Ack, 201), Next::Done),
        (answer(Timeout, None), Next::Again),
        (answer(Nak, None), Next::Failed),
        (answer(Nak, 201), Next::Gone),
        (answer(Nak, 401), Next::Failed),
        (answer(Nak, 405), Next::Failed),
        (answer(Nak, 406), Next::Failed),
        (answer(Nak, 501), Next::Failed),
        (answer(Nak, 503), Next::Gone),
        (answer(Nak, 506), Next::Again),
        (answer(Nak, 507), Next::Done),
        (answer(Nak, 508), Next::Failed),
        (answer(Nak, 999), Next::Failed),
        (answer(Nak, u32::MAX), Next::Failed),
    ];
    for (answer, next) in table {
        assert_eq!(answer.next(), next, "{answer:?}");
    }
}

#[test]
fn the_table_is_the_dictionary_of_freeradius() {
    let dictionary = concat!(
        include_str!("../../../dictionary/dictionary.rfc3576"),
        include_str!("../../../dictionary/dictionary.rfc5176"),
    );
    let mut known: Vec<(u32, &str)> = dictionary
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let found = (words.next()?, words.next()?, words.next()?, words.next()?);
            match found {
                ("VALUE", "Error-Cause", name, number) => Some((number.parse().unwrap(), name)),
                _ => None,
            }
        })
        .collect();
    known.sort_unstable();
    let ours: Vec<(u32, &str)> = ERROR_CAUSES.iter().map(|entry| (entry.number, entry.name)).collect();
    assert_eq!(ours, known);
}

#[test]
fn rests_grow_and_end() {
    let rests: Vec<i64> = (0..8).map(|answers| again_after(answers).whole_seconds()).collect();
    assert_eq!(rests, [30, 30, 60, 120, 240, 240, 240, 240]);
    assert_eq!(again_after(u32::MAX), AGAIN_AFTER_MAX);
}

#[test]
fn names_where_they_are_known() {
    assert_eq!(ErrorCause(503).to_string(), "Session-Context-Not-Found (503)");
    assert_eq!(ErrorCause(599).to_string(), "Error-Cause 599");
    assert_eq!(answer(NasResult::Nak, 405).describe(), "the NAS refused: Unsupported-Service (405)");
    assert_eq!(answer(NasResult::Timeout, None).describe(), "the NAS did not answer");
}

#[test]
fn a_name_is_not_said_twice() {
    let words = |cause: Option<u32>, words: &str| words_beyond(cause.map(ErrorCause), Some(words.to_owned()));
    assert_eq!(words(Some(503), "Session Context Not Found"), None);
    assert_eq!(words(Some(503), "session-context-not-found"), None);
    assert_eq!(words(Some(503), "no such client").as_deref(), Some("no such client"));
    assert_eq!(words(None, "Session Context Not Found").as_deref(), Some("Session Context Not Found"));
    assert_eq!(words(None, " "), None);
}

fn documentation() -> String {
    let mut page = "# What a NAS answers a Change of Authorization\n\n\
        Written by the tests of `src/command/answer.rs`. An edge acknowledges a command with `result` (`ack`, `nak`, \
        `timeout`) and, where the NAS gave one, `error_cause`, the number of RFC 5176 3.5.\n\n\
        * `ack`: the client is moved.\n\
        * `timeout`: the command goes out again after 30 s, then after twice as long each time, 4 min at most, as long \
        as it is wanted (`expires_at`); where the next time would be too late, it has failed.\n\
        * `nak`: as its Error-Cause has it. Without one, or with one that is not in the table: it has failed.\n\n\
        *Gone* ends the matter: there is nobody to move, and the same move is not asked for again until the client \
        is decided on anew. What has *failed* is not tried again at once; somebody has to see to it.\n\n\
        | Error-Cause | Name | What follows | What it means | What to do |\n|---|---|---|---|---|\n"
        .to_owned();
    for entry in ERROR_CAUSES {
        let next = match entry.next {
            Next::Done => "done",
            Next::Gone => "gone",
            Next::Failed => "failed",
            Next::Again => "tried again",
        };
        let ErrorCauseEntry { number, name, meaning, remedy, .. } = entry;
        writeln!(page, "| {number} | {name} | {next} | {meaning} | {remedy} |").unwrap();
    }
    page
}

#[test]
fn the_page_is_the_table() {
    crate::assert_page("ERROR_CAUSES.md", &documentation());
}
