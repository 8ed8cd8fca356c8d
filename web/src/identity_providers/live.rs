//! The progress of a sweep, as it goes on.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cache::{BusEvent, BusMessage};
use domain::{LinkId, OrgId};
use tokio_stream::StreamExt;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

use super::status::Progress;
use super::work;

/// Progress is looked for at least this often, for the case that a signal was lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Signals of a fast sweep are gathered for this long.
const GATHER: Duration = Duration::from_millis(250);

/// `GET /orgs/{org_id}/identity-providers/{link_id}/live`: each message is the part of the page that changes.
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    let mut signals = app.cache.subscribe();
    let first = render(&app, &member, id).await?.ok_or(PageError::NotFound)?;
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
                Ok(Some(BusEvent::Message(BusMessage::SyncProgress { org, link })))
                    if org == member.org.id && link == id =>
                {
                    tokio::time::sleep(GATHER).await;
                }
                Ok(Some(BusEvent::Message(_))) => continue,
                Ok(Some(BusEvent::Lost)) | Err(_) => {}
            }
            // A store that is away for a moment must not end the stream; a link that is gone does.
            match render(&app, &member, id).await {
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

async fn render(app: &App, member: &Member, id: LinkId) -> Result<Option<String>, PageError> {
    let mut tx = member.tx(app).await?;
    let Some(link) = store::views::links::one(&mut tx, id).await? else { return Ok(None) };
    let now = app.now();
    let mut work = work::read(&mut tx, id, now).await?;
    tx.commit().await?;
    work::measure(app, &mut work, &link).await;
    let devices = member.path("devices");
    Ok(Some(Progress { link: &link, work: &work, devices: &devices, now }.render()?))
}
