//! Budgets that all processes share: token buckets in Redis, on Redis' own clock.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use crate::{Cache, Result, millis};

/// The bucket holds `capacity` tokens and refills evenly within `window`. Kept: tokens, the time of the last look,
/// and for readers the bucket's measures.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local cost, capacity, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local needed = cost + tonumber(ARGV[4])
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        local parked = redis.call('PTTL', KEYS[2])
        if parked > 0 then return parked end
        local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local tokens = tonumber(held[1]) or capacity
        local at = tonumber(held[2]) or now
        tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / window)
        local wait = 0
        if tokens >= needed then
            tokens = tokens - cost
        else
            wait = math.ceil((needed - tokens) * window / capacity)
        end
        redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now), 'capacity', ARGV[2],
            'window', ARGV[3])
        redis.call('PEXPIRE', KEYS[1], window)
        return wait",
    )
});

/// The longer of two waits counts.
static PARK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
            redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
        end",
    )
});

/// What was taken and has not refilled yet, with the bucket's measures; nothing where the bucket is full.
static USED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local held = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'capacity', 'window')
        local tokens, at = tonumber(held[1]), tonumber(held[2])
        local capacity, window = tonumber(held[3]), tonumber(held[4])
        if not (tokens and at and capacity and window) then return {} end
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / window)
        return {math.ceil(capacity - tokens), capacity, window}",
    )
});

/// The answer of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The cost is paid.
    Granted,
    /// Nothing was taken; ask again after this long.
    RetryAfter(Duration),
}

/// A budget's measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub capacity: u32,
    /// An empty bucket is full again after this.
    pub window: Duration,
    /// Left in the bucket for others who are in more of a hurry.
    pub kept: u32,
}

/// How much of a budget is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// Taken, and not refilled yet.
    pub used: u32,
    pub capacity: u32,
    pub window: Duration,
}

/// The name of what an app may ask Intune for in a tenant.
#[must_use]
pub fn intune_budget(client_id: impl Display, tid: impl Display) -> String {
    format!("intune:{client_id}:{tid}")
}

/// The name of what an app may ask the directory for in a tenant, in resource units.
#[must_use]
pub fn directory_budget(client_id: impl Display, tid: impl Display) -> String {
    format!("directory:{client_id}:{tid}")
}

/// The name of what an app may ask Microsoft Graph for in all tenants of a cloud together. `graph` is the cloud's
/// Graph host.
#[must_use]
pub fn app_budget(client_id: impl Display, graph: &str) -> String {
    format!("app:{client_id}:{graph}")
}

impl Cache {
    /// Takes `cost` from the budget `name` of `capacity` per `window`. A cost above the capacity is taken as the
    /// capacity: it must wait for a full bucket, not for ever.
    pub async fn take_budget(
        &self,
        name: &str,
        cost: u32,
        capacity: u32,
        window: Duration,
    ) -> Result<Budget> {
        self.take_from(name, cost, Bucket { capacity, window, kept: 0 }).await
    }

    /// The same, of a bucket in which something is left for others.
    pub async fn take_from(&self, name: &str, cost: u32, bucket: Bucket) -> Result<Budget> {
        let capacity = bucket.capacity.max(1);
        let cost = cost.min(capacity);
        let mut take = TAKE.prepare_invoke();
        take.key(self.budget_key(name)).key(self.parked_key(name));
        take.arg(cost).arg(capacity).arg(millis(bucket.window)).arg(bucket.kept.min(capacity - cost));
        let wait: u64 = self.script(self.config().command_timeout, &take).await?;
        Ok(if wait == 0 { Budget::Granted } else { Budget::RetryAfter(Duration::from_millis(wait)) })
    }

    /// Whoever gives the budget `name` said to wait: nobody is granted anything of it for this long, or for longer
    /// where that was said before.
    pub async fn park_budget(&self, name: &str, wait: Duration) -> Result<()> {
        let mut park = PARK.prepare_invoke();
        park.key(self.parked_key(name)).arg(millis(wait).max(1));
        self.script(self.config().command_timeout, &park).await
    }

    /// How much of the budget `name` is in use; `None` where nobody took from it within its window.
    pub async fn budget_used(&self, name: &str) -> Result<Option<BudgetUse>> {
        let mut used = USED.prepare_invoke();
        used.key(self.budget_key(name));
        let answer: Vec<u64> = self.script(self.config().command_timeout, &used).await?;
        let &[used, capacity, window] = answer.as_slice() else { return Ok(None) };
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Some(BudgetUse {
            used: count(used),
            capacity: count(capacity),
            window: Duration::from_millis(window),
        }))
    }

    fn budget_key(&self, name: &str) -> String {
        self.key(format_args!("budget:{{{name}}}"))
    }

    fn parked_key(&self, name: &str) -> String {
        self.key(format_args!("budget:{{{name}}}:parked"))
    }
}
