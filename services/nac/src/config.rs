//! Limits, each with a name and a unit.

use std::num::NonZeroU32;
use std::time::Duration;

use wire::bundle::Signer;

use crate::remediation::RemediationPages;

/// How the service runs.
#[derive(Clone, Debug)]
pub struct NacConfig {
    /// Longest request body.
    pub body_bytes_max: usize,
    /// An answer that takes longer is cut off. Long polls have their wait on top.
    pub request_timeout: Duration,
    /// What was read is trusted for this long without asking again.
    pub memory_ttl: Duration,
    /// What was read is kept for this long for when no store answers.
    pub memory_kept: Duration,
    /// Lookup keys kept in memory.
    pub memory_lookups_max: u64,
    /// Organizations, and credentials, kept in memory.
    pub memory_orgs_max: u64,
    /// A snapshot in Redis that is older is confirmed with PostgreSQL, where that answers.
    pub snapshot_confirm_after: Duration,
    /// A credential in Redis that is older is confirmed with PostgreSQL, where that answers.
    pub credential_confirm_after: Duration,
    /// Devices looked at per lookup key; two are ambiguous already.
    pub candidates_max: u16,
    /// PostgreSQL may take this long to answer a read of a decision; for a client's devices its turn is included, other
    /// reads wait as long for theirs.
    pub store_read_timeout: Duration,
    /// Reads of decisions that are at PostgreSQL at once.
    pub store_reads_max: usize,
    /// Reads of credentials that are at PostgreSQL at once.
    pub credential_reads_max: usize,
    /// PostgreSQL may take this long for a group commit; then the records are spilled.
    pub store_write_timeout: Duration,
    /// How often PostgreSQL is tried while it is away, and spilled records are looked for.
    pub drain_interval: Duration,
    /// Spilled records written at once.
    pub drain_records_max: usize,
    /// Connections to PostgreSQL that write records, each with a writer of its own; an organization is with one at a
    /// time.
    pub recorder_connections_max: u32,
    /// Records of one organization that wait for a writer; of all, as many per connection.
    pub recorder_queue_max: usize,
    /// Records in one group commit.
    pub recorder_batch_max: usize,
    /// Looks that wait at each link of an organization because a decision found no device; beyond, none are added.
    pub unmatched_looks_max: u32,
    /// Longest wait of a long poll.
    pub poll_wait_max: Duration,
    /// Long polls that wait at once.
    pub polls_max: usize,
    /// A waiting poll looks for itself, also at its credential, this often while the bus is up …
    pub poll_recheck: Duration,
    /// … and this often while it is away.
    pub poll_recheck_without_bus: Duration,
    /// A stream of commands is ended after this; the edge connects again.
    pub stream_max: Duration,
    /// A waiting stream says so this often.
    pub stream_heartbeat: Duration,
    /// A waiting stream looks for itself, also at its credential, this often while the bus is up.
    pub stream_recheck: Duration,
    /// Commands handed out at once.
    pub commands_max: u32,
    /// A command that was not acknowledged is handed out again after this.
    pub redeliver_after: Duration,
    /// How often commands are expired.
    pub expiry_interval: Duration,
    /// How often it is written down what was heard of edges: that they called, with what, and how often they decided.
    pub seen_interval: Duration,
    /// An event of the NAS may lie this far back; older ones count as this old, and those of a NAS without a clock as
    /// of now.
    pub accounting_age_max: Duration,
    /// Requests per second that one edge may make of one process, over a long time …
    pub edge_requests_per_second: NonZeroU32,
    /// … and at once.
    pub edge_requests_burst: NonZeroU32,
    /// A session of which nothing is heard for this long has ended, where its NAS sends no interim updates …
    pub session_silence: Duration,
    /// … and otherwise after three of their intervals, but no sooner than this.
    pub session_silence_min: Duration,
    /// How often such sessions are looked for.
    pub session_silence_interval: Duration,
    /// Events taken at once.
    pub events_max: usize,
    /// Longest body of events.
    pub events_bytes_max: usize,
    /// A decision that an edge made may lie this far back.
    pub events_age_max: Duration,
    /// Where clients are led that a policy leads to Gatehouse's page; `None`: the redirect is left out.
    pub remediation: Option<RemediationPages>,
    /// Signs bundles; `None`: there are none.
    pub bundle_signer: Option<Signer>,
    /// Clients seen within this are in their site's bundle …
    pub bundle_recent: Duration,
    /// … but no more than these, the last ones first.
    pub bundle_clients_max: i64,
    /// A site's facts are gathered again after this.
    pub bundle_interval: Duration,
    /// Gathering may take this long.
    pub bundle_timeout: Duration,
    /// Bundles that are made at once.
    pub bundle_builds_max: usize,
}

impl Default for NacConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            request_timeout: Duration::from_secs(10),
            memory_ttl: Duration::from_secs(5),
            memory_kept: Duration::from_secs(24 * 3_600),
            memory_lookups_max: 200_000,
            memory_orgs_max: 10_000,
            snapshot_confirm_after: Duration::from_secs(30),
            credential_confirm_after: Duration::from_secs(5),
            candidates_max: 16,
            // Together with the write less than the 2 s that edges wait for an answer.
            store_read_timeout: Duration::from_millis(700),
            store_reads_max: 16,
            credential_reads_max: 4,
            store_write_timeout: Duration::from_secs(1),
            drain_interval: Duration::from_secs(1),
            drain_records_max: 500,
            recorder_connections_max: 8,
            recorder_queue_max: 4_096,
            recorder_batch_max: 500,
            unmatched_looks_max: 1_000,
            poll_wait_max: Duration::from_secs(60),
            polls_max: 10_000,
            poll_recheck: Duration::from_secs(5),
            poll_recheck_without_bus: Duration::from_secs(1),
            stream_max: Duration::from_secs(15 * 60),
            stream_heartbeat: Duration::from_secs(15),
            stream_recheck: Duration::from_secs(5),
            commands_max: 100,
            redeliver_after: Duration::from_secs(30),
            expiry_interval: Duration::from_secs(5),
            seen_interval: Duration::from_secs(10),
            accounting_age_max: Duration::from_secs(7 * 86_400),
            edge_requests_per_second: const { NonZeroU32::new(5_000).unwrap() },
            edge_requests_burst: const { NonZeroU32::new(20_000).unwrap() },
            session_silence: Duration::from_secs(2 * 86_400),
            session_silence_min: Duration::from_secs(15 * 60),
            session_silence_interval: Duration::from_secs(5 * 60),
            events_max: 500,
            events_bytes_max: 4 * 1024 * 1024,
            events_age_max: Duration::from_secs(90 * 86_400),
            remediation: None,
            bundle_signer: None,
            bundle_recent: Duration::from_secs(30 * 86_400),
            bundle_clients_max: 20_000,
            bundle_interval: Duration::from_secs(60),
            bundle_timeout: Duration::from_secs(20),
            bundle_builds_max: 2,
        }
    }
}
