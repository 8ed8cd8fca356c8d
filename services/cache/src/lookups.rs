//! The devices under a lookup key.

use domain::OrgId;
use domain::device::DeviceFacts;
use domain::resolver::LookupKey;
use redis::cmd;

use crate::{Cache, Result, millis};

impl Cache {
    /// The devices under each key, in the keys' order; `None` where the key is not cached. An empty list means that
    /// no device bears the key.
    pub async fn lookups(&self, org: OrgId, keys: &[LookupKey]) -> Result<Vec<Option<Vec<DeviceFacts>>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut mget = cmd("MGET");
        for key in keys {
            mget.arg(self.lookup_key(org, key));
        }
        let values: Vec<Option<Vec<u8>>> = self.run(self.config().decision_timeout, &mget).await?;
        // What does not read (an older release wrote it) counts as not cached.
        Ok(values.into_iter().map(|value| serde_json::from_slice(&value?).ok()).collect())
    }

    /// A reader found this in PostgreSQL: kept only where nothing is, because the relay may have put something newer
    /// since the reader looked.
    pub async fn fill_lookup(&self, org: OrgId, key: &LookupKey, devices: &[DeviceFacts]) -> Result<()> {
        self.fill_lookups(org, &[(key, devices)]).await
    }

    /// [`Self::fill_lookup`] for several keys, in one round trip.
    pub async fn fill_lookups(&self, org: OrgId, entries: &[(&LookupKey, &[DeviceFacts])]) -> Result<()> {
        let mut pipe = redis::pipe();
        for (key, devices) in entries {
            let ttl = millis(self.config().lookup_ttl);
            let value = serde_json::to_vec(devices)?;
            pipe.cmd("SET").arg(self.lookup_key(org, key)).arg(value).arg("NX").arg("PX").arg(ttl).ignore();
        }
        if entries.is_empty() { Ok(()) } else { self.pipe(self.config().command_timeout, &pipe).await }
    }

    /// What is true now, as the outbox relay read it after a change: replaces what was there.
    pub async fn put_lookups(&self, org: OrgId, entries: &[(LookupKey, Vec<DeviceFacts>)]) -> Result<()> {
        let ttl = millis(self.config().lookup_ttl);
        for chunk in entries.chunks(500) {
            let mut pipe = redis::pipe();
            for (key, devices) in chunk {
                let value = serde_json::to_vec(devices)?;
                pipe.cmd("SET").arg(self.lookup_key(org, key)).arg(value).arg("PX").arg(ttl).ignore();
            }
            let () = self.pipe(self.config().command_timeout, &pipe).await?;
        }
        Ok(())
    }

    fn lookup_key(&self, org: OrgId, key: &LookupKey) -> String {
        self.org_key(org, format_args!("device:{key}"))
    }
}
