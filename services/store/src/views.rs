//! What pages show: read-only queries, each shaped for one page. Nothing here changes a row, and nothing here is
//! needed to decide.

pub mod clients;
pub mod devices;
pub mod events;
pub mod hits;
pub mod holds;
pub mod links;
pub mod org;
pub mod overview;
pub mod remediation;
pub mod replay;
pub mod sites;
pub mod timeline;

use domain::Mac;
use mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

/// Counting stops here: a page says "or more".
pub const COUNT_MAX: i64 = 100_000;

/// Where a page of rows ended, newest first: the next one begins behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub at: OffsetDateTime,
    pub id: Uuid,
}

fn mac(address: MacAddress) -> Mac {
    Mac(address.bytes())
}

fn address(mac: Mac) -> MacAddress {
    MacAddress::new(mac.0)
}
