//! The client's own books against PostgreSQL: what was acknowledged as recorded must be there, once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use uuid::Uuid;

use super::journal::Journal;
use super::requests::Requests;
use crate::bed::{Bed, Database};
use crate::report::{note, say};

/// Ids that are asked for at once.
const PAGE: usize = 5_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Books {
    /// Answers with `recorded: true`.
    pub acknowledged: usize,
    /// Answers with `recorded: false`.
    pub unrecorded: usize,
    /// Decisions in PostgreSQL.
    pub events: usize,
    /// Acknowledged, and not there.
    pub lost: Vec<Uuid>,
    /// There more than once.
    pub doubled: Vec<Uuid>,
    /// There although nobody was told so: their answers got lost on the way, or said `recorded: false`.
    pub untold: usize,
    /// There, and no attempt accounts for them.
    pub strange: Vec<Uuid>,
    /// Sessions that hold another decision than their last.
    pub behind: i64,
}

impl Books {
    pub fn hold(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.strange.is_empty() && self.behind == 0
    }

    pub fn tell(&self) {
        say(&format!(
            "Answers with `recorded: true` {}, with `recorded: false` {}; decisions in PostgreSQL {}. **Lost {}, \
             doubled {}**; recorded though their answer was lost or said otherwise {}, from nowhere {}; sessions that \
             are not at their last decision {}.",
            self.acknowledged,
            self.unrecorded,
            self.events,
            self.lost.len(),
            self.doubled.len(),
            self.untold,
            self.strange.len(),
            self.behind,
        ));
        for (what, ids) in [("lost", &self.lost), ("doubled", &self.doubled), ("from nowhere", &self.strange)]
        {
            for id in ids.iter().take(10) {
                say(&format!("VIOLATION: {what}: {id}"));
            }
        }
    }
}

/// Waits until nothing waits in Redis any more; then compares.
pub async fn compare(bed: &Bed, database: &Database, journal: &Journal) -> anyhow::Result<Books> {
    drained(bed, database, Duration::from_secs(120)).await?;
    note("Comparing the books");
    let mut recorded: HashMap<Uuid, u32> = HashMap::new();
    let mut rows = sqlx::query_scalar::<_, Uuid>(
        "SELECT id FROM event WHERE kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')",
    )
    .fetch(&database.pool);
    while let Some(id) = rows.try_next().await? {
        *recorded.entry(id).or_default() += 1;
    }
    drop(rows);
    let told: HashSet<Uuid> =
        journal.answered.iter().filter(|answer| answer.recorded).map(|answer| answer.decision).collect();
    let untold: Vec<Uuid> = recorded.keys().filter(|id| !told.contains(id)).copied().collect();
    Ok(Books {
        acknowledged: told.len(),
        unrecorded: journal.unrecorded(),
        events: recorded.len(),
        lost: told.iter().filter(|id| !recorded.contains_key(id)).copied().collect(),
        doubled: recorded.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id).collect(),
        strange: strange(database, journal, &untold).await?,
        untold: untold.len(),
        behind: behind(database).await?,
    })
}

/// Waits until no record waits in Redis.
pub async fn drained(bed: &Bed, database: &Database, patience: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while bed.spilled(database)? > 0 {
        if begun.elapsed() > patience {
            anyhow::bail!("records still wait in Redis after {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Those of the decisions that belong to no attempt that failed, nor to an answer that said `recorded: false`.
async fn strange(database: &Database, journal: &Journal, untold: &[Uuid]) -> anyhow::Result<Vec<Uuid>> {
    let unrecorded: HashSet<Uuid> =
        journal.answered.iter().filter(|answer| !answer.recorded).map(|answer| answer.decision).collect();
    let failed: HashSet<(u64, u32)> =
        journal.failed.iter().map(|failed| (failed.number, failed.attempt)).collect();
    let mut strange = Vec::new();
    for page in untold.chunks(PAGE) {
        let rows: Vec<(Uuid, Option<String>)> = sqlx::query_as(
            "SELECT id, detail -> 'request' -> 'nas' ->> 'port_id' FROM event WHERE id = ANY($1)
                 AND kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')",
        )
        .bind(page)
        .fetch_all(&database.pool)
        .await?;
        for (id, tag) in rows {
            let attempt = tag.as_deref().and_then(Requests::read_tag);
            if !unrecorded.contains(&id) && attempt.is_none_or(|attempt| !failed.contains(&attempt)) {
                strange.push(id);
            }
        }
    }
    Ok(strange)
}

async fn behind(database: &Database) -> anyhow::Result<i64> {
    database
        .count(
            "SELECT count(*) FROM session s CROSS JOIN LATERAL
                 (SELECT e.id FROM event e WHERE e.org_id = s.org_id AND e.session_id = s.id
                      AND e.kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')
                  ORDER BY e.at DESC, e.id DESC LIMIT 1) last
             WHERE last.id <> s.decision_id",
        )
        .await
}
