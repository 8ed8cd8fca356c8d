//! Budgets that all processes share: what was taken within a window that slides, in Redis, on Redis' own clock.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use crate::{Cache, Result, millis};

/// What was taken, by twentieths of the window: no more than `capacity` within any window, wherever it begins. A
/// bucket that refills evenly would give up to twice that, and Microsoft counts. Kept for readers: the measures.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local cost, capacity, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local needed, parts = cost + tonumber(ARGV[4]), 20
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        local parked = redis.call('PTTL', KEYS[2])
        if parked > 0 then return parked end
        local width = math.ceil(window / parts)
        local part = math.floor(now / width)
        local held = redis.call('HGETALL', KEYS[1])
        local used, live = 0, {}
        for i = 1, #held, 2 do
            local at = tonumber(held[i])
            if at and (at < part - parts or at > part + parts) then
                redis.call('HDEL', KEYS[1], held[i])
            elseif at then
                used = used + tonumber(held[i + 1])
                live[#live + 1] = {at, tonumber(held[i + 1])}
            end
        end
        local wait = 0
        if used + needed <= capacity then
            redis.call('HINCRBY', KEYS[1], string.format('%d', part), cost)
        else
            table.sort(live, function(a, b) return a[1] < b[1] end)
            for _, one in ipairs(live) do
                used = used - one[2]
                wait = math.max(1, (one[1] + parts + 1) * width - now)
                if used + needed <= capacity then break end
            end
        end
        redis.call('HSET', KEYS[1], 'capacity', ARGV[2], 'window', ARGV[3])
        redis.call('PEXPIRE', KEYS[1], (parts + 1) * width)
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

/// What was taken within the last window, with the budget's measures; nothing where nothing was.
static USED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local measures = redis.call('HMGET', KEYS[1], 'capacity', 'window')
        local capacity, window = tonumber(measures[1]), tonumber(measures[2])
        if not (capacity and window) then return {} end
        local t = redis.call('TIME')
        local now, parts = t[1] * 1000 + math.floor(t[2] / 1000), 20
        local part = math.floor(now / math.ceil(window / parts))
        local held = redis.call('HGETALL', KEYS[1])
        local used = 0
        for i = 1, #held, 2 do
            local at = tonumber(held[i])
            if at and at >= part - parts then used = used + tonumber(held[i + 1]) end
        end
        if used == 0 then return {} end
        return {used, capacity, window}",
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
    /// What was taken is free again after this, and up to a twentieth more.
    pub window: Duration,
    /// Left for others who are in more of a hurry.
    pub kept: u32,
}

/// How much of a budget is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// Taken within the last window.
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
    /// capacity: it must wait until nothing is in use, not for ever.
    pub async fn take_budget(
        &self,
        name: &str,
        cost: u32,
        capacity: u32,
        window: Duration,
    ) -> Result<Budget> {
        self.take_from(name, cost, Bucket { capacity, window, kept: 0 }).await
    }

    /// The same, of a budget of which something is left for others.
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
