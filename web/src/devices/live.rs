//! What a look changes on a device's page, as it goes on.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cache::{BusEvent, BusMessage};
use domain::resolver::LookupKey;
use domain::{DeviceId, LinkId, OrgId};
use tokio_stream::StreamExt;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

use super::detail::{Asked, StandingPart, standing};

/// Changes are looked for at least this often, for the case that a signal was lost; a look that finds nothing new
/// sends none.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Signals that come together are gathered for this long.
const GATHER: Duration = Duration::from_millis(250);

/// `GET /orgs/{org_id}/devices/{link_id}/{device_id}/live`: each message is the part of the page that changes.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, link, id)): Path<(OrgId, LinkId, DeviceId)>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let mut signals = app.cache.subscribe();
    let first = render(&app, &member, link, id, asked).await?.ok_or(PageError::NotFound)?;
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Event, Infallible>>(4);
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move {
        let mut last = first.clone();
        if send.send(Ok(Event::default().data(first))).await.is_err() {
            return;
        }
        loop {
            let waited = tokio::select! {
                () = shutdown.cancelled() => return,
                () = send.closed() => return,
                waited = tokio::time::timeout(LOOK_EVERY, signals.next()) => waited,
            };
            match waited {
                Ok(None) => return,
                Ok(Some(BusEvent::Message(BusMessage::Lookups { org, keys })))
                    if org == member.org.id && keys.contains(&LookupKey::IntuneId(id.uuid())) =>
                {
                    tokio::time::sleep(GATHER).await;
                }
                Ok(Some(BusEvent::Message(_))) => continue,
                Ok(Some(BusEvent::Lost)) | Err(_) => {}
            }
            // A store that is away for a moment must not end the stream; a device that is gone does.
            match render(&app, &member, link, id, asked).await {
                Ok(Some(html)) if html != last => {
                    last.clone_from(&html);
                    if send.send(Ok(Event::default().data(html))).await.is_err() {
                        return;
                    }
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return,
            }
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

async fn render(
    app: &App,
    member: &Member,
    link: LinkId,
    id: DeviceId,
    asked: Asked,
) -> Result<Option<String>, PageError> {
    let now = app.now();
    let mut tx = member.tx(app).await?;
    let standing = standing(&mut tx, link, id, asked, now).await?;
    tx.commit().await?;
    let Some(standing) = standing else { return Ok(None) };
    let identity_providers = member.path("identity-providers");
    let part = StandingPart { standing: &standing, identity_providers: &identity_providers, now };
    Ok(Some(part.render()?))
}
