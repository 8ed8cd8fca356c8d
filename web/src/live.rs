//! What renews itself on a page, over server-sent events. Without JavaScript, reloading shows the same.
//!
//! A stream outlives the request that was allowed to begin it, so that is asked again before each message: who has
//! signed out, or is no longer a member, is told nothing more.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cache::{BusEvent, BusMessage};
use domain::OrgId;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::PageError;
use crate::visit::Member;

/// What a stream is made of.
type Item = Result<Event, Infallible>;

/// Messages that a slow browser may be behind.
const BEHIND_MAX: usize = 4;

/// How a stream keeps up.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// News are looked for at least this often, for the case that a signal was lost.
    pub look_every: Duration,
    /// Signals that come together are gathered for this long.
    pub gather: Duration,
}

/// What a look found.
pub(crate) enum News {
    Nothing,
    Event(Event),
    /// What was followed is gone.
    Over,
}

/// Something that goes on while a page shows it.
pub(crate) trait Feed: Send + Sync + 'static {
    const PACE: Pace;

    /// Whether a signal says that there may be news.
    fn is_concerned(&self, org: OrgId, message: &BusMessage) -> bool;

    /// What is new since the last call.
    ///
    /// # Errors
    /// A store that is away for a moment; the stream goes on.
    fn look(&mut self, app: &App, member: &Member) -> impl Future<Output = Result<News, PageError>> + Send;
}

/// A part of a page that is rendered anew.
pub(crate) trait Part: Send + Sync + 'static {
    const PACE: Pace;

    /// Whether a signal says that it may look otherwise now.
    fn is_concerned(&self, org: OrgId, message: &BusMessage) -> bool;

    /// The part as it is now; `None` where what it shows is gone.
    ///
    /// # Errors
    /// A store that is away, or a template that fails.
    fn render(
        &self,
        app: &App,
        member: &Member,
    ) -> impl Future<Output = Result<Option<String>, PageError>> + Send;
}

/// Streams a part: at once, and each time it looks otherwise.
pub(crate) async fn part<P: Part>(app: App, member: Member, part: P) -> Result<Response, PageError> {
    // Listening begins before the first look, so that nothing falls between the two.
    let ear = Ear::new(&app, P::PACE);
    let first = part.render(&app, &member).await?.ok_or(PageError::NotFound)?;
    let first_event = Event::default().data(&first);
    Ok(run(app, member, ear, Renewed { part, last: first }, Some(first_event)))
}

/// Streams a feed.
pub(crate) fn feed<F: Feed>(app: App, member: Member, feed: F) -> Response {
    let ear = Ear::new(&app, F::PACE);
    run(app, member, ear, feed, None)
}

/// An answer of the events that come through `receive`.
pub(crate) fn respond(receive: mpsc::Receiver<Item>) -> Response {
    let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// A channel to [`respond`] from.
pub(crate) fn channel() -> (Sender<Item>, mpsc::Receiver<Item>) {
    mpsc::channel(BEHIND_MAX)
}

struct Renewed<P> {
    part: P,
    last: String,
}

impl<P: Part> Feed for Renewed<P> {
    const PACE: Pace = P::PACE;

    fn is_concerned(&self, org: OrgId, message: &BusMessage) -> bool {
        self.part.is_concerned(org, message)
    }

    async fn look(&mut self, app: &App, member: &Member) -> Result<News, PageError> {
        Ok(match self.part.render(app, member).await? {
            None => News::Over,
            Some(html) if without_ages(&html) == without_ages(&self.last) => News::Nothing,
            Some(html) => {
                let event = Event::default().data(&html);
                self.last = html;
                News::Event(event)
            }
        })
    }
}

/// A part without the texts of its ages (`ui::ago`), which browsers move on by themselves: to send it for their sake
/// would tear it from under whoever reads it.
fn without_ages(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(" data-age=") {
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        out.push_str(&rest[..end]);
        rest = &rest[end..];
        rest = &rest[rest.find('<').unwrap_or(rest.len())..];
    }
    out.push_str(rest);
    out
}

fn run<F: Feed>(
    app: App,
    member: Member,
    mut ear: Ear<impl Stream<Item = BusEvent> + Send + Unpin + 'static>,
    mut feed: F,
    first: Option<Event>,
) -> Response {
    let (send, receive) = channel();
    tokio::spawn(async move {
        let mut news = match first {
            Some(event) => Ok(News::Event(event)),
            None => feed.look(&app, &member).await,
        };
        loop {
            match news {
                Ok(News::Event(event)) => {
                    if send.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
                Ok(News::Nothing) => {}
                Ok(News::Over) => return,
                Err(_) => tracing::debug!("a live page waits for a store"),
            }
            let org = member.org.id;
            if !ear.wait(&send, |message| feed.is_concerned(org, message)).await {
                return;
            }
            news = match member.is_still(&app).await {
                Ok(true) => feed.look(&app, &member).await,
                Ok(false) => return,
                Err(error) => Err(error),
            };
        }
    });
    respond(receive)
}

struct Ear<S> {
    signals: S,
    shutdown: CancellationToken,
    pace: Pace,
}

impl Ear<()> {
    fn new(app: &App, pace: Pace) -> Ear<impl Stream<Item = BusEvent> + Send + Unpin + use<>> {
        Ear { signals: app.cache.subscribe(), shutdown: app.shutdown.clone(), pace }
    }
}

impl<S: Stream<Item = BusEvent> + Unpin> Ear<S> {
    /// Waits for the time to look. `false`: the stream is over.
    async fn wait(&mut self, send: &Sender<Item>, is_concerned: impl Fn(&BusMessage) -> bool) -> bool {
        // One moment for all signals: those of others, however many, must not put the look off.
        let look_at = tokio::time::Instant::now() + self.pace.look_every;
        loop {
            let heard = tokio::select! {
                () = self.shutdown.cancelled() => return false,
                () = send.closed() => return false,
                heard = tokio::time::timeout_at(look_at, self.signals.next()) => heard,
            };
            match heard {
                Ok(None) => return false,
                Ok(Some(BusEvent::Message(message))) if is_concerned(&message) => {
                    tokio::time::sleep(self.pace.gather).await;
                    return true;
                }
                Ok(Some(BusEvent::Message(_))) => {}
                Ok(Some(BusEvent::Lost)) | Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::without_ages;
    use crate::ui;

    #[test]
    fn ages_alone_are_no_news() {
        let at = datetime!(2026-11-20 12:00 UTC);
        let part = |at, seconds, word| {
            let now = at + Duration::seconds(seconds);
            format!("<p>It called {}, {word} {}.</p>", ui::ago(at, now), ui::when(at, now))
        };
        assert_ne!(part(at, 3, "and"), part(at, 9, "and"));
        assert_eq!(without_ages(&part(at, 3, "and")), without_ages(&part(at, 9, "and")));
        assert_ne!(without_ages(&part(at, 3, "and")), without_ages(&part(at, 3, "or")));
        let later = at + Duration::SECOND;
        assert_ne!(without_ages(&part(at, 3, "and")), without_ages(&part(later, 3, "and")));
        assert_eq!(without_ages("x <b data-age="), "x <b data-age=");
    }
}
