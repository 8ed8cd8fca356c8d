//! The state file: one JSON document, replaced as a whole.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    directory::{App, Tenant},
    fleet::transitions::TransitionLog,
    keys::StoredKey,
    settings::Settings,
    world::World,
};

/// What a restart finds again. Not kept: codes, sign-in cookies, faults, request counters, spent budgets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub fleet_offset_seconds: i64,
    pub login_offset_seconds: i64,
    pub keys: Vec<StoredKey>,
    pub apps: Vec<App>,
    pub settings: Settings,
    pub transitions: TransitionLog,
    pub tenants: Vec<Tenant>,
}

/// The same, borrowed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotRef<'a> {
    fleet_offset_seconds: i64,
    login_offset_seconds: i64,
    keys: Vec<StoredKey>,
    apps: &'a [App],
    settings: Settings,
    transitions: serde_json::Value,
    tenants: Vec<&'a Tenant>,
}

/// `None` where the file does not exist yet.
pub fn load(path: &Path) -> io::Result<Option<Snapshot>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn save(path: &Path, world: &World) -> io::Result<()> {
    let bytes = {
        // Copied first: a tenant's lock may be waited for below, and its holder may want this one.
        let transitions = serde_json::to_value(&*world.transitions())?;
        let (fleet, login) = world.clock.offsets();
        let tenants = world.tenants();
        let apps = world.apps();
        serde_json::to_vec(&SnapshotRef {
            fleet_offset_seconds: fleet.whole_seconds(),
            login_offset_seconds: login.whole_seconds(),
            keys: world.keys().stored(),
            apps: &apps,
            settings: world.settings(),
            transitions,
            tenants: tenants.iter().map(AsRef::as_ref).collect(),
        })?
    };
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}
