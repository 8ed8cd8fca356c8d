//! Drains the spill stream: what PostgreSQL could not take while it was away. Records may come a second time (a
//! process died after writing and before acknowledging); each write is idempotent.

use std::collections::HashMap;

use cache::{CacheError, SpillId, SpilledRecord};
use domain::OrgId;
use futures::{StreamExt, stream};

use crate::record::{Batch, NotWritten, Writer, org_of};

/// Organizations whose records are written at once; fewer than the recorder has connections, since decisions go on.
const ORGS_AT_ONCE: usize = 4;

/// Drains until nothing is left or PostgreSQL is away.
pub async fn drain(writer: &Writer, consumer: &str, records_max: usize) -> Result<(), CacheError> {
    loop {
        let depth = writer.cache.spill_depth().await?;
        writer.metrics.spill_depth(depth);
        if depth == 0 || writer.gate.is_closed() {
            return Ok(());
        }
        let claimed = writer.cache.spill_claim(consumer, records_max).await?;
        if claimed.is_empty() {
            // Another process holds what is left.
            return Ok(());
        }
        let mut orgs: HashMap<OrgId, Vec<(SpillId, SpilledRecord)>> = HashMap::new();
        for spilled in claimed {
            match spilled.record {
                Ok(record) => orgs.entry(org_of(&record)).or_default().push((spilled.id, record)),
                Err(why) => {
                    tracing::error!(why, "a spilled record cannot be read; it is set aside");
                    writer.cache.spill_set_aside(&spilled.id, &why).await?;
                }
            }
        }
        let mut drained = stream::iter(orgs)
            .map(|(org, records)| async move { drain_org(writer, org, &records).await })
            .buffer_unordered(ORGS_AT_ONCE);
        while let Some(written) = drained.next().await {
            if !written? {
                return Ok(());
            }
        }
    }
}

/// `false`: PostgreSQL is away again; what is left stays ours, to be claimed again.
async fn drain_org(
    writer: &Writer,
    org: OrgId,
    records: &[(SpillId, SpilledRecord)],
) -> Result<bool, CacheError> {
    match writer.write(org, &batch_of(records)).await {
        Ok(()) => {
            writer.metrics.records("drained", records.len());
            let ids: Vec<SpillId> = records.iter().map(|(id, _)| id.clone()).collect();
            writer.cache.spill_ack(&ids).await?;
            return Ok(true);
        }
        Err(NotWritten::Away) => return Ok(false),
        Err(NotWritten::Failed(why) | NotWritten::Refused(why)) => {
            tracing::error!(%org, records = records.len(), why, "PostgreSQL refused spilled records");
        }
    }
    // One of them is to blame: alone, each is taken, set aside, or kept for when it can be written.
    for one in records {
        match writer.write(org, &batch_of(std::slice::from_ref(one))).await {
            Ok(()) => {
                writer.metrics.records("drained", 1);
                writer.cache.spill_ack(std::slice::from_ref(&one.0)).await?;
            }
            Err(NotWritten::Away) => return Ok(false),
            Err(NotWritten::Failed(_)) => {}
            Err(NotWritten::Refused(why)) => writer.cache.spill_set_aside(&one.0, &why).await?,
        }
    }
    Ok(true)
}

fn batch_of(records: &[(SpillId, SpilledRecord)]) -> Batch {
    let mut batch = Batch::late();
    for (_, record) in records {
        batch.add(record.clone());
    }
    batch
}
