//! `devices/delta` of Entra ID: what changed since a token was given out.
//!
//! Intune has no delta of its own; Entra ID's devices carry the compliance that Intune (or a partner) writes there.
//! Items come in any order, may repeat, and may be told again. Source: Microsoft, "Use delta query to track changes"
//! (delta-query-overview) and "device: delta".

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::device::{boolean, guid};
use super::next_link::NextLink;
use super::request::{Ask, query};
use super::{Graph, GraphError, parse};

const DELTA: &str = "/v1.0/devices/delta";
/// Only changes of what is selected are reported.
const SELECT: &str = "id,deviceId,isCompliant,isManaged";
/// The default page has some 100 items.
const PREFER: &str = "odata.maxpagesize=999";

/// Where a round of delta begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaStart {
    /// From now on: nothing is told, a link is given.
    Latest,
    /// Everything once, over many pages, and from then on what changes.
    Whole,
}

/// Where to go on, as Graph gave it: within a round, or in the next one. May be stored as a cursor; it is checked
/// before each use, as [`NextLink`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeltaLink(NextLink);

/// One page of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaPage {
    pub items: Vec<DeltaItem>,
    /// Items without a usable id.
    pub unreadable: u32,
    pub next: DeltaNext,
}

/// What follows a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeltaNext {
    /// Another page of this round, now.
    Page(DeltaLink),
    /// The round is over; the next begins here, whenever that is. Microsoft forgets the link after days.
    Round(DeltaLink),
}

impl DeltaNext {
    /// Where to go on.
    #[must_use]
    pub const fn link(&self) -> &DeltaLink {
        match self {
            Self::Page(link) | Self::Round(link) => link,
        }
    }
}

/// What became of a device of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaItem {
    /// It is new, changed, or told again.
    Changed {
        object_id: Uuid,
        /// `azureADDeviceId` of Intune's record; `None` where Graph left it out.
        device_id: Option<Uuid>,
        is_compliant: Option<bool>,
        is_managed: Option<bool>,
    },
    /// It is gone. Graph names the object alone, not its device id.
    Removed { object_id: Uuid, reason: RemovedReason },
}

/// Why an item is `@removed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedReason {
    /// Gone for now; it can be restored.
    Changed,
    /// Gone for good.
    Deleted,
    /// A word that is not documented.
    Other,
}

impl Graph {
    /// A page of what changed among the directory's devices: the first of a round that starts at `start`, or the one
    /// that `cursor` names. Needs `Device.Read.All`.
    ///
    /// # Errors
    /// [`GraphError::DeltaExpired`] where the cursor is too old: start over. [`GraphError::DirectoryForbidden`] where
    /// the tenant has not granted the directory permission, and [`GraphError::DirectoryWithoutDelta`] where there is
    /// no such thing, which both say nothing about Intune. Else as every request.
    pub async fn entra_devices_delta(
        &self,
        start: DeltaStart,
        cursor: Option<&DeltaLink>,
    ) -> Result<DeltaPage, GraphError> {
        let base = self.microsoft.cloud().graph_url(DELTA);
        let url = match (cursor, start) {
            (Some(DeltaLink(link)), _) => pinned(link, &base)?,
            (None, DeltaStart::Latest) => with(&base, &[("$select", SELECT), ("$deltatoken", "latest")]),
            (None, DeltaStart::Whole) => with(&base, &[("$select", SELECT)]),
        };
        let answer = self.ask(Ask::get("devices delta", url).prefer(PREFER)).await?;
        if answer.status != StatusCode::OK {
            let unknown = matches!(
                answer.status,
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
            );
            return Err(match GraphError::classify(&answer) {
                error if unknown => GraphError::DirectoryWithoutDelta { detail: error.detail() },
                // Whatever its code: it is the directory that refuses here.
                GraphError::Forbidden { detail } => GraphError::DirectoryForbidden { detail },
                GraphError::PageExpired => GraphError::DeltaExpired,
                // A token of another day that no longer reads.
                GraphError::BadRequest { .. } if cursor.is_some() => GraphError::DeltaExpired,
                error => error,
            });
        }
        let page = DeltaPage::read(&parse(&answer)?)?;
        // Refused now rather than by whoever resumes from a stored cursor.
        pinned(&page.next.link().0, &base)?;
        if page.unreadable > 0 {
            tracing::warn!(tid = %self.tid(), unreadable = page.unreadable, "directory devices without a usable id");
        }
        Ok(page)
    }
}

fn with(base: &Url, pairs: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_query(Some(&query(pairs)));
    url
}

/// Graph writes the function in several ways, all of which lead to the same one.
fn pinned(link: &NextLink, base: &Url) -> Result<Url, GraphError> {
    let mut outcome = link.pinned_to(base);
    for name in ["delta()", "microsoft.graph.delta", "microsoft.graph.delta()"] {
        if outcome.is_ok() {
            break;
        }
        let mut spelled = base.clone();
        spelled.set_path(&format!("{}{name}", base.path().trim_end_matches("delta")));
        outcome = link.pinned_to(&spelled).or(outcome);
    }
    outcome
}

impl DeltaPage {
    fn read(body: &Value) -> Result<Self, GraphError> {
        let list = body.get("value").and_then(Value::as_array);
        let list = list.ok_or_else(|| GraphError::protocol("the delta page holds no value"))?;
        let link = |name: &str| {
            let link = body.get(name)?.as_str().filter(|link| !link.is_empty())?;
            Some(DeltaLink(NextLink::from(link.to_owned())))
        };
        let next = match (link("@odata.nextLink"), link("@odata.deltaLink")) {
            // With both, there is more to read before the round is over.
            (Some(page), _) => DeltaNext::Page(page),
            (None, Some(round)) => DeltaNext::Round(round),
            (None, None) => return Err(GraphError::protocol("the delta page leads nowhere")),
        };
        let items: Vec<_> = list.iter().filter_map(DeltaItem::read).collect();
        let unreadable = u32::try_from(list.len() - items.len()).unwrap_or(u32::MAX);
        Ok(Self { items, unreadable, next })
    }
}

impl DeltaItem {
    fn read(value: &Value) -> Option<Self> {
        let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
        let object_id = guid(field("id"))?;
        if let Some(removed) = value.get("@removed").filter(|removed| !removed.is_null()) {
            let reason = match removed.get("reason").and_then(Value::as_str) {
                Some("changed") => RemovedReason::Changed,
                Some("deleted") => RemovedReason::Deleted,
                _ => RemovedReason::Other,
            };
            return Some(Self::Removed { object_id, reason });
        }
        Some(Self::Changed {
            object_id,
            device_id: guid(field("deviceId")),
            is_compliant: boolean(field("isCompliant")),
            is_managed: boolean(field("isManaged")),
        })
    }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
