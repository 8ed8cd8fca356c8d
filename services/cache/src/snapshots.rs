//! An organization's snapshot: never an older one over a newer one.

use std::sync::LazyLock;
use std::time::Duration;

use domain::OrgId;
use domain::snapshot::OrgSnapshot;
use redis::Script;

use crate::{Aged, Cache, Result, millis};

static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local held = redis.call('HGET', KEYS[1], 'revision')
        if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
        redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'body', ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
        return 1",
    )
});

impl Cache {
    /// The organization's snapshot, if it is cached.
    pub async fn snapshot(&self, org: OrgId) -> Result<Option<OrgSnapshot>> {
        Ok(self.snapshot_with_age(org).await?.map(|aged| aged.value))
    }

    /// The same, with the time since it was last put: a reader confirms an old one with PostgreSQL.
    pub async fn snapshot_with_age(&self, org: OrgId) -> Result<Option<Aged<OrgSnapshot>>> {
        let key = self.snapshot_key(org);
        let mut pipe = redis::pipe();
        pipe.cmd("HGET").arg(&key).arg("body").cmd("PTTL").arg(&key);
        let (body, left): (Option<Vec<u8>>, i64) = self.pipe(self.config().decision_timeout, &pipe).await?;
        let snapshot = body.and_then(|body| serde_json::from_slice(&body).ok());
        Ok(snapshot.map(|value| Aged { value, age: age(self.config().snapshot_ttl, left) }))
    }

    /// Keeps it, unless a newer revision is there already. Says whether it was kept.
    pub async fn put_snapshot(&self, snapshot: &OrgSnapshot) -> Result<bool> {
        let mut put = PUT.prepare_invoke();
        put.key(self.snapshot_key(snapshot.org)).arg(snapshot.revision).arg(serde_json::to_vec(snapshot)?);
        put.arg(millis(self.config().snapshot_ttl));
        self.script(self.config().command_timeout, &put).await
    }

    fn snapshot_key(&self, org: OrgId) -> String {
        self.org_key(org, "snapshot")
    }
}

/// How long ago a key was put, from the milliseconds that it still has.
pub fn age(ttl: Duration, left_millis: i64) -> Duration {
    ttl.saturating_sub(Duration::from_millis(u64::try_from(left_millis).unwrap_or(0)))
}
