//! Looks that somebody asked for: at a device that is known, or under a key that nobody is known to bear.
//!
//! A link has at most one wish per key, so that asking twice costs nothing more.

use domain::LinkId;
use domain::request::UnknownWord;
use domain::resolver::LookupKey;
use time::{Duration, OffsetDateTime};

use crate::{OrgTx, Result, StoreError};

/// Why a look is wished for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WishReason {
    /// An admin chose "Check now".
    Admin,
    /// The person at the device asked to be checked again.
    Client,
    /// Entra ID says that the device changed.
    Entra,
    /// A client came under this key, and no device bears it.
    Unmatched,
}

impl WishReason {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Client, Self::Entra, Self::Unmatched];

    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Entra => "entra",
            Self::Unmatched => "unmatched",
        }
    }
}

impl std::str::FromStr for WishReason {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| UnknownWord {
            what: "reason of a look",
            allowed: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// A look that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub key: LookupKey,
    pub reason: WishReason,
    /// Names this asking: one that was repeated meanwhile is not done with.
    pub asked_at: OffsetDateTime,
    /// Looks that came to nothing so far.
    pub attempts: u32,
}

/// An unmatched key is not asked for again sooner than this after Microsoft last knew nothing of it.
const UNMATCHED_PAUSE: Duration = Duration::seconds(60);

/// Wishes for a look, due at once. Call [`crate::jobs::wake`] for the link's look job in the same transaction. False
/// where the organization has no such link.
pub async fn wish(
    tx: &mut OrgTx,
    link: LinkId,
    key: &LookupKey,
    reason: WishReason,
    now: OffsetDateTime,
) -> Result<bool> {
    Ok(wish_all(tx, link, std::slice::from_ref(key), reason, now).await? > 0)
}

/// Wishes for several looks, due at once. A wish that waits already keeps the more urgent reason.
pub async fn wish_all(
    tx: &mut OrgTx,
    link: LinkId,
    keys: &[LookupKey],
    reason: WishReason,
    now: OffsetDateTime,
) -> Result<u64> {
    let org = tx.org().uuid();
    let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    keys.sort_unstable();
    keys.dedup();
    let done = sqlx::query!(
        "INSERT INTO look_wish AS w (org_id, link_id, key, reason, asked_at, due_at)
         SELECT $1, l.id, k, $4, $5, $5
         FROM (SELECT id FROM link WHERE org_id = $1 AND id = $2 FOR KEY SHARE) AS l CROSS JOIN unnest($3::text[]) AS k
         ON CONFLICT (org_id, link_id, key) DO UPDATE SET asked_at = excluded.asked_at, due_at = excluded.due_at,
             attempts = 0,
             reason = CASE WHEN array_position(ARRAY['admin', 'client', 'entra', 'unmatched'], w.reason)
                              < array_position(ARRAY['admin', 'client', 'entra', 'unmatched'], excluded.reason)
                           THEN w.reason ELSE excluded.reason END",
        org,
        link.uuid(),
        &keys,
        reason.as_str(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// A decision found no device under these keys: wishes for a look at every link of the organization. Of such wishes
/// a link holds at most about `max`, whatever certificates come along; and none waits for a link that is being
/// removed. Keys of other kinds than ids, serials and names are left out: Microsoft cannot be asked for a MAC.
/// Returns how many wishes are new or due sooner.
pub async fn wish_unmatched(
    tx: &mut OrgTx,
    keys: &[LookupKey],
    now: OffsetDateTime,
    max: u32,
) -> Result<u64> {
    let mut keys: Vec<String> =
        keys.iter().filter(|key| !matches!(key, LookupKey::Mac(_))).map(ToString::to_string).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(0);
    }
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "INSERT INTO look_wish AS w (org_id, link_id, key, reason, asked_at, due_at)
         SELECT $1, l.id, k.key, 'unmatched', $3, $3
         FROM (SELECT id FROM link WHERE org_id = $1 FOR KEY SHARE SKIP LOCKED) AS l
         CROSS JOIN LATERAL (
             SELECT $4 - count(*) AS room
             FROM (SELECT 1 FROM look_wish WHERE org_id = $1 AND link_id = l.id AND reason = 'unmatched' LIMIT $4) AS n
         ) AS n
         CROSS JOIN LATERAL (
             SELECT u.key FROM unnest($2::text[]) AS u (key)
             LEFT JOIN look_wish AS was ON was.org_id = $1 AND was.link_id = l.id AND was.key = u.key
             ORDER BY was.key IS NULL, u.key LIMIT n.room + (
                 SELECT count(*) FROM look_wish AS known
                 WHERE known.org_id = $1 AND known.link_id = l.id AND known.key = ANY($2))
         ) AS k
         ON CONFLICT (org_id, link_id, key) DO UPDATE SET asked_at = excluded.asked_at,
             due_at = greatest(excluded.due_at, w.tried_at + $5::interval)
         WHERE w.reason = 'unmatched' AND w.due_at > greatest(excluded.due_at, w.tried_at + $5::interval)",
        org,
        &keys,
        now,
        i64::from(max),
        crate::interval(UNMATCHED_PAUSE),
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// The link's wishes that are due, the most urgent first.
pub async fn due(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime, limit: i64) -> Result<Vec<Wish>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT key, reason, asked_at, attempts FROM look_wish
         WHERE org_id = $1 AND link_id = $2 AND due_at <= $3
         ORDER BY array_position(ARRAY['admin', 'client', 'entra', 'unmatched'], reason), due_at, key LIMIT $4",
        org,
        link.uuid(),
        now,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Wish {
                key: row.key.parse().map_err(|e| StoreError::corrupt("look_wish.key", e))?,
                reason: row.reason.parse().map_err(|e| StoreError::corrupt("look_wish.reason", e))?,
                asked_at: row.asked_at,
                attempts: u32::try_from(row.attempts).unwrap_or(0),
            })
        })
        .collect()
}

/// Wishes that were fulfilled, or given up, are gone; one that was repeated since it was read stays.
pub async fn done(tx: &mut OrgTx, link: LinkId, wishes: &[Wish]) -> Result<()> {
    if wishes.is_empty() {
        return Ok(());
    }
    let org = tx.org().uuid();
    let keys: Vec<String> = wishes.iter().map(|wish| wish.key.to_string()).collect();
    let asked_at: Vec<OffsetDateTime> = wishes.iter().map(|wish| wish.asked_at).collect();
    sqlx::query!(
        "DELETE FROM look_wish w USING unnest($3::text[], $4::timestamptz[]) AS d (key, asked_at)
         WHERE w.org_id = $1 AND w.link_id = $2 AND w.key = d.key AND w.asked_at = d.asked_at",
        org,
        link.uuid(),
        &keys,
        &asked_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A wish that came to nothing, and when it is due again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    pub wish: Wish,
    pub due_at: OffsetDateTime,
    /// Microsoft answered; otherwise the attempt does not count.
    pub answered: bool,
}

/// Puts wishes off. One that was repeated since it was read keeps its due time.
pub async fn retry(tx: &mut OrgTx, link: LinkId, retries: &[Retry], now: OffsetDateTime) -> Result<()> {
    if retries.is_empty() {
        return Ok(());
    }
    let org = tx.org().uuid();
    let keys: Vec<String> = retries.iter().map(|retry| retry.wish.key.to_string()).collect();
    let asked_at: Vec<OffsetDateTime> = retries.iter().map(|retry| retry.wish.asked_at).collect();
    let due_at: Vec<OffsetDateTime> = retries.iter().map(|retry| retry.due_at).collect();
    let answered: Vec<bool> = retries.iter().map(|retry| retry.answered).collect();
    sqlx::query!(
        "UPDATE look_wish w SET
             due_at = CASE WHEN w.asked_at = d.asked_at THEN d.due_at ELSE w.due_at END,
             attempts = w.attempts + d.answered::int,
             tried_at = CASE WHEN d.answered THEN $7 ELSE w.tried_at END
         FROM unnest($3::text[], $4::timestamptz[], $5::timestamptz[], $6::bool[]) AS d (key, asked_at, due_at, answered)
         WHERE w.org_id = $1 AND w.link_id = $2 AND w.key = d.key",
        org,
        link.uuid(),
        &keys,
        &asked_at,
        &due_at,
        &answered,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// When the link's next wish is due.
pub async fn next_due(tx: &mut OrgTx, link: LinkId) -> Result<Option<OffsetDateTime>> {
    let org = tx.org().uuid();
    let next = sqlx::query_scalar!(
        "SELECT min(due_at) FROM look_wish WHERE org_id = $1 AND link_id = $2",
        org,
        link.uuid(),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(next)
}

/// Whether a person waits for a look under any of these keys, at any link: it was asked for, and not done yet.
pub async fn person_waits(tx: &mut OrgTx, keys: &[LookupKey]) -> Result<bool> {
    let org = tx.org().uuid();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let waits = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM look_wish WHERE org_id = $1 AND key = ANY($2)
                          AND reason IN ('admin', 'client')) AS "waits!""#,
        org,
        &keys,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(waits)
}
