//! How often rules decided.

use std::collections::HashMap;

use domain::RuleId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// Counting a rule's decisions stops here: a page says "or more".
pub const HITS_MAX: i64 = 10_000;
/// Decisions of a window, matched by rules on trial, that are looked through: the newest ones.
pub const DRY_RUN_DECISIONS_MAX: i64 = 50_000;

/// What became of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleHits {
    /// Decisions of the window that it made, counted to [`HITS_MAX`].
    pub count: i64,
    /// The last of all that are kept, also before the window; `None`: it never decided.
    pub last: Option<OffsetDateTime>,
    /// Decisions of the window that it would have made or shared, while it was on trial.
    pub dry_run: i64,
    pub dry_run_last: Option<OffsetDateTime>,
}

/// The rules of a table with their hits.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    pub rules: HashMap<RuleId, RuleHits>,
    /// The window holds more decisions matched by rules on trial than are looked through.
    pub dry_run_cut: bool,
}

impl Hits {
    /// The hits of a rule.
    #[must_use]
    pub fn of(&self, rule: RuleId) -> RuleHits {
        self.rules.get(&rule).copied().unwrap_or_default()
    }
}

/// The hits of `rules` since `from`. `trials`: whether to look for rules on trial.
pub async fn hits(tx: &mut OrgTx, from: OffsetDateTime, rules: &[RuleId], trials: bool) -> Result<Hits> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = rules.iter().map(|rule| rule.uuid()).collect();
    let mut out = Hits::default();
    // In the order of the index on rules: a limit alone tempts PostgreSQL to look for a rare rule one by one.
    let rows = sqlx::query!(
        r#"SELECT w.id AS "id!", c.n AS "n!", l.at AS "at?"
           FROM unnest($2::uuid[]) AS w(id)
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
                                   SELECT FROM event e WHERE e.org_id = $1 AND e.rule_id = w.id AND e.at >= $3
                                   ORDER BY e.at DESC LIMIT $4) h) c
           LEFT JOIN LATERAL (SELECT e.at FROM event e WHERE e.org_id = $1 AND e.rule_id = w.id
                              ORDER BY e.at DESC LIMIT 1) l ON true"#,
        org,
        &ids,
        from,
        HITS_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    for row in rows {
        let hits = out.rules.entry(RuleId(row.id)).or_default();
        (hits.count, hits.last) = (row.n, row.at);
    }
    if !trials {
        return Ok(out);
    }
    let rows = sqlx::query!(
        r#"WITH seen AS (
               SELECT at, trial_rules FROM event WHERE org_id = $1 AND at >= $2 AND trial_rules IS NOT NULL
               ORDER BY at DESC LIMIT $3
           )
           SELECT id, count(*) AS "n!", max(at) AS at, (SELECT count(*) FROM seen) AS "seen!"
           FROM seen CROSS JOIN LATERAL jsonb_array_elements_text(trial_rules) AS id
           GROUP BY id"#,
        org,
        from,
        DRY_RUN_DECISIONS_MAX,
    )
    .fetch_all(tx.conn())
    .await?;
    for row in rows {
        out.dry_run_cut |= row.seen >= DRY_RUN_DECISIONS_MAX;
        let Some(id) = row.id.and_then(|id| id.parse().ok()) else { continue };
        if let Some(hits) = out.rules.get_mut(&RuleId(id)) {
            (hits.dry_run, hits.dry_run_last) = (row.n, row.at);
        }
    }
    Ok(out)
}
