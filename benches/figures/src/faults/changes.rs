//! What happens at Microsoft meanwhile: devices change, come and go.

use std::time::{Duration, Instant};

use domain::time::{Clock as _, SystemClock};
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use time::OffsetDateTime;

use super::Seat;
use crate::control::Control;
use crate::report::note;
use crate::seed::Organization;

/// A device that came or went; changes of compliance are in the simulator's own log.
#[derive(Clone, Debug)]
pub struct Enrolled {
    pub device: String,
    pub state: String,
    pub at: OffsetDateTime,
}

#[derive(Clone, Debug)]
pub struct Retired {
    pub device: String,
    /// After the simulator had taken it.
    pub at: OffsetDateTime,
}

#[derive(Debug, Default)]
pub struct Journal {
    /// States before the first change, by device.
    pub initial: std::collections::HashMap<String, String>,
    pub enrolled: Vec<Enrolled>,
    pub retired: Vec<Retired>,
    pub changes: usize,
}

const STATES: [(&str, u32); 6] = [
    ("compliant", 40),
    ("noncompliant", 40),
    ("inGracePeriod", 12),
    ("unknown", 4),
    ("error", 2),
    ("conflict", 2),
];
/// Devices of each tenant that change all the time, faster than anybody looks.
const RESTLESS: usize = 2;

/// Changes devices until then.
pub async fn drive(
    control: &Control,
    organizations: &[Organization],
    seats: &[Seat],
    rate: f64,
    seed: u64,
    until: Instant,
) -> anyhow::Result<Journal> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xc4a6);
    let mut journal = Journal::default();
    let mut fleets: Vec<Vec<String>> = Vec::new();
    for organization in organizations {
        let devices = control.devices(organization.tid).await?;
        fleets.push(devices.iter().map(|device| device.id.clone()).collect());
        journal.initial.extend(devices.into_iter().map(|device| (device.id, device.compliance_state)));
    }
    let mut told = Instant::now();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs_f64(random.random_range(0.2..1.8) / rate)).await;
        let tenant = random.random_range(0..organizations.len());
        let (tid, fleet) = (organizations[tenant].tid, &mut fleets[tenant]);
        match random.random_range(0..100) {
            0..2 => {
                let state = pick(&mut random);
                // Before it is there, so that nobody can have seen it earlier.
                let at = SystemClock.now();
                let name = format!("NEW-{}", random.random::<u32>());
                let device = control.enrol(tid, &name, state).await?;
                fleet.push(device.clone());
                journal.enrolled.push(Enrolled { device, state: state.to_owned(), at });
            }
            2..3 => {
                // Devices with a session stay: what becomes of theirs is checked by their states.
                let free: Vec<usize> = (0..fleet.len())
                    .filter(|at| !seats.iter().any(|seat| seat.device == fleet[*at]))
                    .collect();
                let Some(at) = free.choose(&mut random) else { continue };
                let device = fleet.swap_remove(*at);
                control.retire(tid, &device, random.random_bool(0.3)).await?;
                journal.retired.push(Retired { device, at: SystemClock.now() });
            }
            _ => {
                let restless = random.random_bool(0.2);
                let among = if restless { RESTLESS.min(fleet.len()) } else { fleet.len() };
                let device = fleet[random.random_range(0..among)].clone();
                let state = pick(&mut random);
                let mut body = json!({ "complianceState": state });
                if state == "inGracePeriod" && random.random_bool(0.5) {
                    // Soon over: nobody but the clock will say so.
                    let ends = SystemClock.now() + time::Duration::seconds(random.random_range(5..60));
                    let text = ends.format(&time::format_description::well_known::Rfc3339)?;
                    body["complianceGracePeriodExpirationDateTime"] = text.into();
                }
                control.change(tid, &device, &body).await?;
                journal.changes += 1;
            }
        }
        if told.elapsed() > Duration::from_secs(30) {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            note(&format!("{} changes so far; {left} s to go", journal.changes));
            told = Instant::now();
        }
    }
    Ok(journal)
}

fn pick(random: &mut ChaCha8Rng) -> &'static str {
    STATES.choose_weighted(random, |state| state.1).map_or("compliant", |state| state.0)
}
