//! Budgets that all processes share: token buckets in Redis, on Redis' own clock.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use crate::{Cache, Result, millis};

/// The bucket holds `capacity` tokens and refills evenly within `window`. Kept: tokens (in thousandths) and the
/// time of the last look.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local cost, capacity, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local tokens = tonumber(held[1]) or capacity
        local at = tonumber(held[2]) or now
        tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / window)
        local wait = 0
        if tokens >= cost then
            tokens = tokens - cost
        else
            wait = math.ceil((cost - tokens) * window / capacity)
        end
        redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
        redis.call('PEXPIRE', KEYS[1], window)
        return wait",
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
        let capacity = capacity.max(1);
        let mut take = TAKE.prepare_invoke();
        take.key(self.key(format_args!("budget:{{{name}}}")));
        take.arg(cost.min(capacity)).arg(capacity).arg(millis(window));
        let wait: u64 = self.script(self.config().command_timeout, &take).await?;
        Ok(if wait == 0 { Budget::Granted } else { Budget::RetryAfter(Duration::from_millis(wait)) })
    }
}
