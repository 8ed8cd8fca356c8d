//! Whether Redis holds what was put into it, or lost everything.
//!
//! A mark is set once all was put; where it is gone, so is the rest. Whoever rebuilds holds a claim under a name of
//! its own, which goes as well where Redis is emptied again meanwhile, so that a half-built Redis is never marked.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, cmd};

use crate::{Cache, Result, millis};

static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return 1",
    )
});

static FINISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], ARGV[1])
        return 1",
    )
});

impl Cache {
    /// Whether all was put since Redis was last empty.
    pub async fn is_warm(&self) -> Result<bool> {
        self.run(self.config().command_timeout, cmd("EXISTS").arg(self.warm_key("done"))).await
    }

    /// Claims the rebuilding for `lease`. False where somebody else is at it.
    pub async fn begin_warming(&self, by: &str, lease: Duration) -> Result<bool> {
        let mut set = cmd("SET");
        set.arg(self.warm_key("claim")).arg(by).arg("NX").arg("PX").arg(millis(lease));
        let set: Option<String> = self.run(self.config().command_timeout, &set).await?;
        Ok(set.is_some())
    }

    /// Renews the claim. False where it was lost, or Redis was emptied again: begin anew.
    pub async fn keep_warming(&self, by: &str, lease: Duration) -> Result<bool> {
        let mut keep = KEEP.prepare_invoke();
        keep.key(self.warm_key("claim")).arg(by).arg(millis(lease));
        self.script(self.config().command_timeout, &keep).await
    }

    /// All was put. False where the claim was lost.
    pub async fn finish_warming(&self, by: &str) -> Result<bool> {
        let mut finish = FINISH.prepare_invoke();
        finish.key(self.warm_key("claim")).key(self.warm_key("done")).arg(by);
        self.script(self.config().command_timeout, &finish).await
    }

    /// Both parts are in one slot.
    fn warm_key(&self, part: &str) -> String {
        format!("{}:{{warm}}:{part}", self.config().prefix)
    }
}
