//! Recorded decisions made again with a draft of 100 rules: decisions per second, and memory at a million.

use benches::{policy, record};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use domain::policy::CompiledPolicy;
use domain::policy::replay::{Options, Replay, Report};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const RULES: u32 = 100;

fn main() {
    divan::main();
}

/// Pushes `decisions` of `clients`, all of which would move, and finishes.
fn replay(bencher: Bencher, decisions: u32, clients: u32) {
    let live = CompiledPolicy::compile(1, &policy(RULES, 0));
    let draft = CompiledPolicy::compile(2, &policy(RULES, 50));
    let records: Vec<_> = (0..clients).map(|client| record(&live, RULES, client)).collect();
    bencher.counter(ItemsCount::new(decisions)).bench_local(|| -> Report {
        let mut replay = Replay::new(&draft, Options::default());
        for record in records.iter().cycle().take(decisions as usize) {
            replay.push(record);
        }
        replay.finish()
    });
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_decisions(bencher: Bencher) {
    replay(bencher, 10_000, 1_000);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn one_million_decisions_of_fifty_thousand_clients(bencher: Bencher) {
    replay(bencher, 1_000_000, 50_000);
}
