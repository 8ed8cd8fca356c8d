//! The spill stream: records that PostgreSQL could not take, in order, until it can.

use std::sync::LazyLock;

use domain::event::DecisionRecord;
use domain::session::Accounting;
use redis::{Script, Value, cmd};
use serde::{Deserialize, Serialize};

use crate::{Cache, CacheError, Result, millis};

/// One record that waits for PostgreSQL. Writing it twice does no harm: every event has its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "record", rename_all = "snake_case")]
pub enum SpilledRecord {
    Decision(Box<DecisionRecord>),
    Accounting(Box<Accounting>),
}

/// The place of a record in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpillId(String);

/// A record that this consumer holds until it acknowledges it.
#[derive(Debug)]
pub struct Spilled {
    pub id: SpillId,
    /// An error where the entry cannot be read: it is moved aside with [`Cache::spill_set_aside`].
    pub record: Result<SpilledRecord, String>,
}

const GROUP: &str = "nac";

static PUSH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('XLEN', KEYS[1]) + #ARGV - 1 > tonumber(ARGV[1]) then return 0 end
        for i = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'r', ARGV[i]) end
        return 1",
    )
});

static ACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for i = 2, #ARGV do
            redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
            redis.call('XDEL', KEYS[1], ARGV[i])
        end
        return 1",
    )
});

static SET_ASIDE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
        if found[1] then
            redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'r', found[1][2][2], 'why', ARGV[3])
        end
        redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
        redis.call('XDEL', KEYS[1], ARGV[2])
        return 1",
    )
});

impl Cache {
    /// Appends records, all or none, in their order.
    pub async fn spill_push(&self, records: &[SpilledRecord]) -> Result<()> {
        for chunk in records.chunks(500) {
            let mut push = PUSH.prepare_invoke();
            push.key(self.spill_key()).arg(self.config().spill_records_max);
            for record in chunk {
                push.arg(serde_json::to_vec(record)?);
            }
            let taken: bool = self.script(self.config().command_timeout, &push).await?;
            if !taken {
                return Err(CacheError::SpillFull);
            }
        }
        Ok(())
    }

    /// Takes up to `count` records for `consumer`: first those that it holds already, then those that another
    /// consumer took and never finished, then new ones, oldest first.
    pub async fn spill_claim(&self, consumer: &str, count: usize) -> Result<Vec<Spilled>> {
        let (key, within) = (self.spill_key(), self.config().command_timeout);
        let mut group = cmd("XGROUP");
        group.arg("CREATE").arg(&key).arg(GROUP).arg("0").arg("MKSTREAM");
        match self.run::<()>(within, &group).await {
            Ok(()) => {}
            Err(CacheError::Redis(error)) if error.code() == Some("BUSYGROUP") => {}
            Err(error) => return Err(error),
        }
        let own = self.spill_read(consumer, count, "0").await?;
        if !own.is_empty() {
            return Ok(own);
        }
        let mut left_over = cmd("XAUTOCLAIM");
        left_over.arg(&key).arg(GROUP).arg(consumer).arg(millis(self.config().spill_idle)).arg("0-0");
        left_over.arg("COUNT").arg(count);
        let reply: Vec<Value> = self.run(within, &left_over).await?;
        let claimed = entries(reply.get(1));
        if !claimed.is_empty() {
            return Ok(claimed);
        }
        self.spill_read(consumer, count, ">").await
    }

    async fn spill_read(&self, consumer: &str, count: usize, from: &str) -> Result<Vec<Spilled>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(consumer).arg("COUNT").arg(count);
        read.arg("STREAMS").arg(self.spill_key()).arg(from);
        let reply: Value = self.run(self.config().command_timeout, &read).await?;
        // One stream: [[key, [entry, …]]], or nil.
        let stream = match &reply {
            Value::Array(streams) => streams.first(),
            Value::Map(streams) => return Ok(entries(streams.first().map(|(_, entries)| entries))),
            _ => None,
        };
        Ok(match stream {
            Some(Value::Array(parts)) => entries(parts.get(1)),
            _ => Vec::new(),
        })
    }

    /// They are in PostgreSQL: forgets them.
    pub async fn spill_ack(&self, ids: &[SpillId]) -> Result<()> {
        for chunk in ids.chunks(1_000) {
            let mut ack = ACK.prepare_invoke();
            ack.key(self.spill_key()).arg(GROUP);
            for id in chunk {
                ack.arg(&id.0);
            }
            let _: bool = self.script(self.config().command_timeout, &ack).await?;
        }
        Ok(())
    }

    /// PostgreSQL will never take it, or it cannot be read: out of the way, where an operator finds it
    /// (`XRANGE <prefix>:{spill}:aside`).
    pub async fn spill_set_aside(&self, id: &SpillId, why: &str) -> Result<()> {
        let mut aside = SET_ASIDE.prepare_invoke();
        aside.key(self.spill_key()).key(self.key("{spill}:aside")).arg(GROUP).arg(&id.0).arg(why);
        let _: bool = self.script(self.config().command_timeout, &aside).await?;
        Ok(())
    }

    /// How many records wait.
    pub async fn spill_depth(&self) -> Result<u64> {
        self.run(self.config().command_timeout, cmd("XLEN").arg(self.spill_key())).await
    }

    fn spill_key(&self) -> String {
        self.key("{spill}:records")
    }
}

/// Reads `[[id, [field, value]], …]`. Entries that were deleted meanwhile come as nil.
fn entries(value: Option<&Value>) -> Vec<Spilled> {
    let Some(Value::Array(entries)) = value else { return Vec::new() };
    entries.iter().filter_map(entry).collect()
}

fn entry(value: &Value) -> Option<Spilled> {
    let Value::Array(parts) = value else { return None };
    let [id, Value::Array(fields)] = parts.as_slice() else { return None };
    let id: String = redis::from_redis_value_ref(id).ok()?;
    let record = match fields.as_slice() {
        [_, Value::BulkString(body)] => serde_json::from_slice(body).map_err(|error| error.to_string()),
        _ => Err("not an entry of ours".to_owned()),
    };
    Some(Spilled { id: SpillId(id), record })
}
