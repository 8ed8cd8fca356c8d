//! The edge package with the real FreeRADIUS, the real eapol_test and radclient, and this service behind TLS.

mod certs;
mod decisions;
mod outages;
mod radsec;
mod rig;
mod sessions;
mod tls;

use domain::device::ComplianceState;
use domain::time::{Clock, SystemClock};
use tempfile::TempDir;

use self::certs::Authority;
use self::rig::Rig;
use crate::proxy::Proxy;
use crate::world::{Process, Tenant, World};

/// A world, one process of it behind TLS, and FreeRADIUS before it, not started yet.
struct Site {
    world: World,
    tenant: Tenant,
    rig: Rig,
    /// Between FreeRADIUS and the API: can be cut.
    wire: Proxy,
    _process: Process,
}

async fn site() -> Site {
    let world = World::new().await;
    // The certificates and FreeRADIUS itself go by the machine's clock.
    world.advance((SystemClock.now() - world.now()).whole_seconds());
    let tenant = world.tenant(1).await;
    let process = world.process();
    let folder = TempDir::new().unwrap();
    let api = Authority::new("API");
    let wire = tls::serve_tls(&process, folder.path(), &api).await;
    let rig = Rig::new(folder, &api, Authority::new("Clients"), &url_of(&wire), &tenant.token);
    Site { world, tenant, rig, wire, _process: process }
}

fn url_of(wire: &Proxy) -> String {
    format!("https://localhost:{}", wire.address.port())
}

/// As Intune writes the device's id into a SAN:URI.
fn intune(n: u16) -> String {
    format!("ID:Microsoft Endpoint Manager:GUID:{}", crate::world::device_id(n))
}

impl Site {
    /// Two devices of one name.
    async fn twins(&self) {
        for (n, mac) in [(7, "d4:6e:0e:00:00:07"), (8, "d4:6e:0e:00:00:08")] {
            self.world.device(&self.tenant, n, mac, ComplianceState::Compliant).await;
        }
        sqlx::query("UPDATE device SET name = 'TWIN', name_key = 'twin' WHERE ordinal IN (7, 8)")
            .execute(&self.world.admin)
            .await
            .unwrap();
    }

    /// A field of the newest decision's record.
    async fn last_decision(&self, pointer: &str) -> serde_json::Value {
        let detail: serde_json::Value = sqlx::query_scalar(
            "SELECT detail FROM event WHERE kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')
             ORDER BY at DESC, id DESC LIMIT 1",
        )
        .fetch_one(&self.world.admin)
        .await
        .unwrap();
        // What comes next is newer.
        self.world.advance(1);
        detail.pointer(pointer).cloned().unwrap_or_default()
    }

    /// What the edge refused by itself, the oldest first.
    async fn refusals(&self) -> Vec<serde_json::Value> {
        sqlx::query_scalar(
            "SELECT jsonb_build_object('kind', kind, 'summary', summary, 'mac', mac, 'detail', detail) FROM event
             WHERE detail ? 'said' ORDER BY at, id",
        )
        .fetch_all(&self.world.admin)
        .await
        .unwrap()
    }

    async fn decisions(&self) -> i64 {
        self.world
            .count("SELECT count(*) FROM event WHERE kind IN ('NAC_CLIENT_PERMIT', 'NAC_CLIENT_DENY')")
            .await
    }
}
