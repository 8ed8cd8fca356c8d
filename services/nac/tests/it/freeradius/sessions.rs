//! Accounting, from the NAS to the session's record.

use super::{Site, site};
use crate::world::{COMPLIANT, eventually};

fn packet(site: &Site, status: &str, class: &str, seconds: i64, more: &str) -> String {
    format!(
        "Acct-Status-Type = {status}\nAcct-Session-Id = \"8f3a\"\nClass = {class}\nUser-Name = \"d46e0e022896\"\n\
         Calling-Station-Id = \"D4-6E-0E-02-28-96\"\nNAS-Identifier = \"switch-1\"\nEvent-Timestamp = {}\n{more}\n",
        site.world.now().unix_timestamp() + seconds,
    )
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Row {
    sessions: i64,
    ended: bool,
    ip: Option<String>,
    bytes_in: Option<i64>,
    bytes_out: Option<i64>,
    cause: Option<String>,
    stay: Option<String>,
    decided: bool,
}

async fn row(site: &Site) -> Row {
    sqlx::query_as(
        "SELECT count(*) OVER () AS sessions, ended_at IS NOT NULL AS ended, host(framed_ip) AS ip, bytes_in,
                bytes_out, terminate_cause AS cause, acct_session_id AS stay, decision_id IS NOT NULL AS decided
         FROM session",
    )
    .fetch_one(&site.world.admin)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_stay_is_one_record_from_decision_to_stop() {
    let mut site = site().await;
    site.rig.start().await;
    let accepted = site.rig.mab(COMPLIANT).await;
    let class = accepted.value("Class").unwrap();
    site.world.advance(3_600);
    let start = packet(&site, "Start", class, -3_000, "");
    let interim = packet(
        &site,
        "Interim-Update",
        class,
        -2_400,
        "Framed-IP-Address = 10.1.30.42\nAcct-Input-Octets = 7\nAcct-Output-Octets = 9\nAcct-Output-Gigawords = 1",
    );
    let stop =
        packet(&site, "Stop", class, -1_800, "Acct-Terminate-Cause = User-Request\nAcct-Session-Time = 1200");
    for message in [&start, &interim, &interim, &stop, &start, &stop] {
        let answered = site.rig.account(message).await;
        assert_ne!(answered, super::rig::Got::Nothing, "{}", site.rig.log());
    }
    let wanted = Row {
        sessions: 1,
        ended: true,
        ip: Some("10.1.30.42".to_owned()),
        bytes_in: Some(7),
        bytes_out: Some((1 << 32) + 9),
        cause: Some("User-Request".to_owned()),
        stay: Some("8f3a".to_owned()),
        decided: true,
    };
    assert_eq!(row(&site).await, wanted);
    let history = ["NAC_CLIENT_PERMIT", "NAC_SESSION_STARTED", "NAC_CLIENT_IP_ASSIGNED", "NAC_SESSION_ENDED"];
    assert_eq!(site.world.history(&site.tenant).await, history);
}

/// The NAS is answered at once; Gatehouse hears of it when it is back, with the times of the NAS.
#[tokio::test]
async fn what_happens_while_gatehouse_is_away_is_told_later_once() {
    let mut site = site().await;
    site.rig.start().await;
    let accepted = site.rig.mab(COMPLIANT).await;
    let class = accepted.value("Class").unwrap().to_owned();
    site.world.advance(3_600);
    site.wire.cut();
    for (status, at) in [("Start", -3_000), ("Interim-Update", -2_400), ("Stop", -1_800)] {
        let message = packet(&site, status, &class, at, "Acct-Input-Octets = 7");
        assert_ne!(site.rig.account(&message).await, super::rig::Got::Nothing, "the NAS is answered");
    }
    assert!(!row(&site).await.ended);
    site.wire.mend();
    for _ in 0..6 {
        if row(&site).await.ended {
            break;
        }
        // Three packets, each told again after five seconds at the latest.
        let _ = tokio::time::timeout(
            std::time::Duration::from_secs(10),
            eventually("told again", || async { row(&site).await.ended }),
        )
        .await;
    }
    let told = row(&site).await;
    assert!(told.ended && told.sessions == 1 && told.bytes_in == Some(7), "{told:?} {}", site.rig.log());
    let history = site.world.history(&site.tenant).await;
    assert_eq!(history, ["NAC_CLIENT_PERMIT", "NAC_SESSION_STARTED", "NAC_SESSION_ENDED"]);
}
