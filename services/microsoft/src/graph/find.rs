//! Devices by what Graph can filter.
//!
//! Graph ignores a filter that it does not support, without a word, and answers with every device. So only documented
//! filters are asked for, and the predicate is checked again on each item that comes.

use http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::batch::{BatchGet, BatchItem};
use super::device::{self, GraphDevice, is_placeholder};
use super::next_link::NextLink;
use super::request::query;
use super::{DEVICES, Graph, GraphError, MANAGED_DEVICES, WirePage, parse};

/// What devices are looked for. Never by MAC: Graph does not filter by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFilter<'a> {
    /// `azureADDeviceId`: the `deviceId` of Entra ID's `devices`.
    EntraId(Uuid),
    /// `serialNumber`.
    Serial(&'a str),
    /// `deviceName`, whole.
    Name(&'a str),
}

impl DeviceFilter<'_> {
    /// `None` where it can fit no device: nothing, or a placeholder that thousands of machines share.
    fn odata(&self) -> Option<String> {
        let (property, value) = match self {
            Self::EntraId(id) if id.is_nil() => return None,
            Self::EntraId(id) => ("azureADDeviceId", id.to_string()),
            Self::Serial(serial) if is_placeholder(serial.trim()) => return None,
            Self::Serial(serial) => ("serialNumber", clean(serial)?),
            Self::Name(name) => ("deviceName", clean(name)?),
        };
        // Within a literal of OData, a quote is written twice.
        Some(format!("{property} eq '{}'", value.replace('\'', "''")))
    }

    fn fits(&self, device: &GraphDevice) -> bool {
        // Graph compares texts without regard to case.
        let same = |have: Option<&str>, want: &str| {
            have.is_some_and(|have| have.to_lowercase() == want.trim().to_lowercase())
        };
        match self {
            Self::EntraId(id) => device.entra_id == Some(*id),
            Self::Serial(serial) => same(device.serial.as_deref(), serial),
            Self::Name(name) => same(device.name.as_deref(), name),
        }
    }

    /// The property, for the log.
    const fn property(&self) -> &'static str {
        match self {
            Self::EntraId(_) => "azureADDeviceId",
            Self::Serial(_) => "serialNumber",
            Self::Name(_) => "deviceName",
        }
    }
}

/// A text that a device's own can equal: unchanged by what is done to those.
fn clean(text: &str) -> Option<String> {
    let text = text.trim();
    device::text(&Value::from(text)).filter(|clean| clean == text)
}

impl Graph {
    /// The managed devices that fit: none, one, or several that share a serial number or name. One page is read, and
    /// a second only where the first is empty and says that there is more.
    ///
    /// # Errors
    /// [`GraphError::FilterIgnored`] where devices came and none fits; [`GraphError::Unfinished`] where two empty
    /// pages did not end the answer. Else as every request.
    pub async fn find_devices(&self, by: DeviceFilter<'_>) -> Result<Vec<GraphDevice>, GraphError> {
        let Some(filter) = by.odata() else { return Ok(Vec::new()) };
        let base = self.microsoft.cloud().graph_url(DEVICES);
        let mut url = base.clone();
        url.set_query(Some(&query(&[("$filter", &filter), ("$select", device::SELECT)])));
        let mut whole = base.clone();
        whole.set_query(Some(&query(&[("$filter", &filter)])));
        let answer = self.get_selected("managedDevices filter", url, whole).await?;
        if answer.status != StatusCode::OK {
            return Err(GraphError::classify(&answer));
        }
        let page: WirePage = parse(&answer)?;
        let more = match page.next() {
            Some(next) if page.value.is_empty() => next,
            _ => return fitting(by, &page),
        };
        let answer = self.get("managedDevices filter next page", more.pinned_to(&base)?).await?;
        if answer.status != StatusCode::OK {
            return Err(GraphError::classify(&answer));
        }
        fitting(by, &parse(&answer)?)
    }

    /// The managed devices of several Entra device ids, with one request, in their order: at most
    /// [`super::BATCH_MAX`]. An id without a managed device has an empty answer, and one that was registered twice may
    /// have several.
    ///
    /// # Errors
    /// Where the batch as such was refused.
    pub async fn find_devices_batch(
        &self,
        entra_ids: &[Uuid],
    ) -> Result<Vec<BatchItem<Vec<GraphDevice>>>, GraphError> {
        let gets: Vec<_> = entra_ids
            .iter()
            .map(|id| {
                let filter = format!("azureADDeviceId eq '{id}'");
                BatchGet {
                    path: MANAGED_DEVICES.to_owned(),
                    query: format!("?{}", query(&[("$filter", &filter), ("$select", device::SELECT)])),
                    select: device::SELECT,
                    without_select: format!("?{}", query(&[("$filter", &filter)])),
                }
            })
            .collect();
        let answers = self.batch("managedDevices filter batch", &gets).await?;
        let judged = entra_ids.iter().zip(answers).map(|(id, answer)| {
            let found = answer.and_then(|answer| {
                if answer.status != StatusCode::OK.as_u16() {
                    return Err(answer.error());
                }
                let page = serde_json::from_value(answer.body)
                    .map_err(|error| GraphError::protocol(error.to_string()))?;
                fitting(DeviceFilter::EntraId(*id), &page)
            });
            match found {
                Ok(devices) => BatchItem::Found(devices),
                Err(error) => BatchItem::Failed(error),
            }
        });
        Ok(judged.collect())
    }
}

fn fitting(by: DeviceFilter<'_>, page: &WirePage) -> Result<Vec<GraphDevice>, GraphError> {
    let devices: Vec<_> =
        page.value.iter().filter_map(GraphDevice::read).filter(|device| by.fits(device)).collect();
    if !devices.is_empty() {
        return Ok(devices);
    }
    if !page.value.is_empty() {
        return Err(GraphError::FilterIgnored { property: by.property() });
    }
    if page.next().is_some() {
        return Err(GraphError::Unfinished { property: by.property() });
    }
    Ok(Vec::new())
}

impl WirePage {
    pub(super) fn next(&self) -> Option<NextLink> {
        self.next_link.clone().filter(|link| !link.is_empty()).map(NextLink::from)
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
