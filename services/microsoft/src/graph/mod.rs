//! Microsoft Graph v1.0, for one tenant, with app-only tokens.

mod batch;
mod delta;
mod device;
mod error;
mod find;
mod next_link;
mod request;
mod schema;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::DeviceId;
use http::StatusCode;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

pub use batch::{Adapters, BATCH_MAX, BatchItem};
pub use delta::{DeltaItem, DeltaLink, DeltaNext, DeltaPage, DeltaStart, RemovedReason};
pub use device::GraphDevice;
pub use error::GraphError;
pub use find::DeviceFilter;
pub use next_link::NextLink;
pub(crate) use schema::Schemas;

use crate::Microsoft;
use crate::http::Answer;

/// The most that `$top` may ask for.
pub const PAGE_SIZE_MAX: u16 = 1000;

const DEVICES: &str = "/v1.0/deviceManagement/managedDevices";
/// The same, as a batch names it: below the version.
const MANAGED_DEVICES: &str = "/deviceManagement/managedDevices";

/// Graph for one tenant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Graph {
    microsoft: Microsoft,
    tid: Uuid,
    /// Requests beyond those that were asked for, of all clones.
    repeats: Arc<AtomicU32>,
}

/// One page of the fleet. A snapshot it is not: while pages are read, a device may come twice or not at all, so
/// absence proves nothing until [`Graph::device`] says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicesPage {
    pub devices: Vec<GraphDevice>,
    /// Records without a usable id, which cannot be kept.
    pub unreadable: u32,
    /// The next page; a short or even empty page may have one. `None`: this was the last.
    pub next: Option<NextLink>,
}

/// The tenant, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    pub display_name: String,
}

impl Graph {
    /// Graph for a tenant.
    #[must_use]
    pub fn for_tenant(microsoft: &Microsoft, tid: Uuid) -> Self {
        Self { microsoft: microsoft.clone(), tid, repeats: Arc::default() }
    }

    /// The tenant.
    #[must_use]
    pub const fn tid(&self) -> Uuid {
        self.tid
    }

    /// A page of `managedDevices`: the first, or the one that `next` of an earlier page names. Pages hold at most
    /// `page_size` devices ([`PAGE_SIZE_MAX`]); later ones keep the size of the first.
    pub async fn devices_page(
        &self,
        next: Option<&NextLink>,
        page_size: u16,
    ) -> Result<DevicesPage, GraphError> {
        let base = self.microsoft.cloud().graph_url(DEVICES);
        let answer = match next {
            Some(next) => self.get("managedDevices next page", next.pinned_to(&base)?).await?,
            None => {
                let top = page_size.clamp(1, PAGE_SIZE_MAX).to_string();
                let mut whole = base.clone();
                whole.query_pairs_mut().append_pair("$top", &top);
                let mut url = base.clone();
                url.query_pairs_mut().append_pair("$select", device::SELECT).append_pair("$top", &top);
                self.get_selected("managedDevices", url, whole).await?
            }
        };
        if answer.status != StatusCode::OK {
            let error = GraphError::classify(&answer);
            let expired = next.is_some() && matches!(error, GraphError::BadRequest { .. });
            return Err(if expired { GraphError::PageExpired } else { error });
        }
        let page: WirePage = parse(&answer)?;
        let next = page.next();
        if let Some(next) = &next {
            // Refused now rather than by whoever resumes from a stored cursor.
            next.pinned_to(&base)?;
        }
        let total = page.value.len();
        let devices: Vec<_> = page.value.iter().filter_map(GraphDevice::read).collect();
        let unreadable = u32::try_from(total - devices.len()).unwrap_or(u32::MAX);
        if unreadable > 0 {
            tracing::warn!(tid = %self.tid, unreadable, "managed devices without a usable id");
        }
        Ok(DevicesPage { devices, unreadable, next })
    }

    /// One device; `None` where Intune has no record of it (any more).
    pub async fn device(&self, id: DeviceId) -> Result<Option<GraphDevice>, GraphError> {
        let base = self.microsoft.cloud().graph_url(&format!("{DEVICES}/{id}"));
        let mut url = base.clone();
        url.query_pairs_mut().append_pair("$select", device::SELECT);
        let answer = self.get_selected("managedDevice", url, base).await?;
        match answer.status {
            StatusCode::OK => {
                let value: serde_json::Value = parse(&answer)?;
                let device = GraphDevice::read(&value).filter(|device| device.id == id);
                // Never take another device's record for the one that was asked for.
                device.map(Some).ok_or_else(|| GraphError::protocol("the record bears another id"))
            }
            StatusCode::NOT_FOUND => error::not_about_the_record(&answer.body).map_or(Ok(None), Err),
            _ => Err(GraphError::classify(&answer)),
        }
    }

    /// How many requests were sent beyond those that were asked for, since this was last asked: with a new token, or
    /// without a selection that the cloud refused. They count at Microsoft all the same.
    pub fn take_repeats(&self) -> u32 {
        self.repeats.swap(0, Ordering::Relaxed)
    }

    fn count_repeats(&self, count: usize) {
        self.repeats.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A GET of `selected`, whose `$select` is [`device::SELECT`]. Where this cloud's schema is older than ours,
    /// `whole`: without `$select` every property that it has comes.
    async fn get_selected(
        &self,
        what: &'static str,
        selected: Url,
        whole: Url,
    ) -> Result<Answer, GraphError> {
        if !self.takes(device::SELECT) {
            return self.get(what, whole).await;
        }
        let answer = self.get(what, selected).await?;
        if !error::names_unknown_property(&answer) {
            return Ok(answer);
        }
        self.refused_select(device::SELECT);
        self.count_repeats(1);
        self.get(what, whole).await
    }

    /// Whether this cloud takes a selection, as far as is known.
    fn takes(&self, select: &'static str) -> bool {
        let inner = &self.microsoft.0;
        inner.shared.schemas.takes(&inner.authority, select, self.microsoft.now())
    }

    fn refused_select(&self, select: &'static str) {
        let inner = &self.microsoft.0;
        tracing::info!(
            cloud = self.microsoft.cloud().name().as_str(),
            select,
            "this cloud's schema lacks a property; whole records are asked for"
        );
        inner.shared.schemas.refused(&inner.authority, select, self.microsoft.now());
    }

    /// The tenant's name; `None` where our permissions do not cover it.
    pub async fn organization(&self) -> Result<Option<Organization>, GraphError> {
        let mut url = self.microsoft.cloud().graph_url("/v1.0/organization");
        url.query_pairs_mut().append_pair("$select", "id,displayName");
        let answer = self.get("organization", url).await?;
        match answer.status {
            StatusCode::OK => {
                let page: WirePage = parse(&answer)?;
                let name = page.value.iter().find_map(|value| device::text(value.get("displayName")?));
                Ok(name.map(|display_name| Organization { display_name }))
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
            _ => Err(GraphError::classify(&answer)),
        }
    }

    /// The cheapest request that proves the permission and the subscription: one device.
    pub async fn probe(&self) -> Result<(), GraphError> {
        let mut url = self.microsoft.cloud().graph_url(DEVICES);
        url.query_pairs_mut().append_pair("$select", "id").append_pair("$top", "1");
        let answer = self.get("managedDevices probe", url).await?;
        if answer.status != StatusCode::OK {
            return Err(GraphError::classify(&answer));
        }
        parse::<WirePage>(&answer).map(drop)
    }

    /// Drops the tenant's token, so that the next request fetches one: a token that was minted before consent
    /// propagated lacks its roles until it expires.
    pub async fn forget_token(&self) {
        self.microsoft.forget_tokens(self.tid).await;
    }
}

fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, GraphError> {
    serde_json::from_slice(&answer.body).map_err(|error| GraphError::protocol(error.to_string()))
}

#[derive(Deserialize)]
struct WirePage {
    value: Vec<serde_json::Value>,
    #[serde(rename = "@odata.nextLink", default)]
    next_link: Option<String>,
}
