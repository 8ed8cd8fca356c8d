//! An edge's credentials: made, replaced with an overlap, given more time, revoked.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::FieldError;
use domain::{CredentialId, EdgeId, OrgId};
use serde::Deserialize;
use store::OrgTx;
use store::edges::{self, CredentialRow, change};
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::ui;
use crate::visit::Member;

use super::health::ENDS_SOON;
use super::{connect, edge};

/// How long a replaced token may go on, in seconds, and in words. The first is what the form begins with.
pub(crate) const OVERLAPS: &[(i64, &str)] = &[
    (86_400, "24 hours"),
    (3_600, "1 hour"),
    (7 * 86_400, "7 days"),
    (30 * 86_400, "30 days"),
    (0, "not at all: it ends at once"),
];
/// What an extension gives a token from now on.
const EXTENSION: Duration = Duration::hours(24);

/// How a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    /// It ends by itself.
    Ends(OffsetDateTime),
    Ended(OffsetDateTime),
    Revoked(OffsetDateTime),
}

/// A credential as its row shows it.
pub(crate) struct Shown {
    pub row: CredentialRow,
    pub standing: Standing,
    /// It is the one that the edge used last.
    pub latest: bool,
}

/// What is to be said of a change-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeOver {
    /// The edge uses a token that ends then.
    Awaited { ends_at: OffsetDateTime, soon: bool },
    /// The edge uses one that stays, and an older one still holds.
    Done,
}

impl Standing {
    fn of(row: &CredentialRow, now: OffsetDateTime) -> Self {
        match (row.revoked_at, row.expires_at) {
            (Some(at), _) => Self::Revoked(at),
            (None, Some(at)) if at <= now => Self::Ended(at),
            (None, Some(at)) => Self::Ends(at),
            (None, None) => Self::Good,
        }
    }

    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Ended(_) | Self::Revoked(_))
    }
}

/// The rows, the newest first, and what is to be said of a change-over.
pub(super) fn shown(rows: Vec<CredentialRow>, now: OffsetDateTime) -> (Vec<Shown>, Option<ChangeOver>) {
    let latest = rows.iter().filter(|row| row.last_used_at.is_some()).max_by_key(|row| row.last_used_at);
    let latest = latest.map(|row| row.id);
    let mut shown: Vec<Shown> = rows
        .into_iter()
        .map(|row| Shown { standing: Standing::of(&row, now), latest: latest == Some(row.id), row })
        .collect();
    // Ids grow with time.
    shown.sort_by_key(|shown| std::cmp::Reverse(shown.row.id));
    let ending = shown.iter().any(|shown| matches!(shown.standing, Standing::Ends(_)));
    let change = shown.iter().find(|shown| shown.latest).and_then(|used| match used.standing {
        Standing::Ends(ends_at) => Some(ChangeOver::Awaited { ends_at, soon: ends_at - now < ENDS_SOON }),
        Standing::Good if ending => Some(ChangeOver::Done),
        _ => None,
    });
    (shown, change)
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials`: one more token beside the others.
pub(super) async fn issue(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let issued = edges::issue_credential(&mut tx, &app.ids, member.now(), &member.actor(), id).await?;
    let (token, _) = issued.ok_or(PageError::NotFound)?;
    connect::with_token(tx, &member, &app, id, token).await
}

#[derive(Deserialize)]
pub(super) struct RotateForm {
    #[serde(default)]
    overlap: String,
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials/rotate`: a new token, and an end for all others.
pub(super) async fn rotate(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
    Form(form): Form<RotateForm>,
) -> Result<Response, PageError> {
    let overlap = form.overlap.trim().parse::<i64>().ok();
    let known = overlap.filter(|overlap| OVERLAPS.iter().any(|(seconds, _)| seconds == overlap));
    let Some(overlap) = known else {
        let error = FieldError::new("overlap", "unknown", "Choose how long the old token goes on.");
        return edge::refused(&member, &app, id, None, vec![error]).await;
    };
    let mut tx = member.tx(&app).await?;
    let (now, actor) = (member.now(), member.actor());
    let made = change::rotate(&mut tx, &app.ids, now, &actor, id, Duration::seconds(overlap)).await?;
    let (token, _) = made.ok_or(PageError::NotFound)?;
    connect::with_token(tx, &member, &app, id, token).await
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials/{credential_id}/extend`
pub(super) async fn extend(
    member: Member,
    State(app): State<App>,
    Path((_, edge, credential)): Path<(OrgId, EdgeId, CredentialId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    of_edge(&mut tx, edge, credential).await?;
    let (now, actor) = (member.now(), member.actor());
    let until = now + EXTENSION;
    let extended = change::extend(&mut tx, &app.ids, now, &actor, credential, until).await?;
    tx.commit().await?;
    let flash = if extended {
        Flash::good(format!("The token holds until {}.", ui::stamp(until, now)))
    } else {
        Flash::warn("The token is over, or holds longer than that already.")
    };
    member.flash(flash).await?;
    Ok(Redirect::to(&member.path(&format!("sites/edges/{edge}"))).into_response())
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials/{credential_id}/revoke`
pub(super) async fn revoke(
    member: Member,
    State(app): State<App>,
    Path((_, edge, credential)): Path<(OrgId, EdgeId, CredentialId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    of_edge(&mut tx, edge, credential).await?;
    let revoked =
        edges::revoke_credential(&mut tx, &app.ids, member.now(), &member.actor(), credential).await?;
    tx.commit().await?;
    let flash = if revoked {
        Flash::good("The token is revoked: whoever holds it is refused from now on.")
    } else {
        Flash::warn("The token was revoked already.")
    };
    member.flash(flash).await?;
    Ok(Redirect::to(&member.path(&format!("sites/edges/{edge}"))).into_response())
}

/// A credential of another edge cannot be reached through this one.
async fn of_edge(tx: &mut OrgTx, edge: EdgeId, credential: CredentialId) -> Result<(), PageError> {
    let row = edges::credential(tx, credential).await?;
    row.filter(|row| row.edge == edge).map(|_| ()).ok_or(PageError::NotFound)
}

#[cfg(test)]
mod tests {
    use domain::SiteId;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn row(n: u128, expires: Option<i64>, used: Option<i64>) -> CredentialRow {
        CredentialRow {
            id: CredentialId(Uuid::from_u128(n)),
            edge: EdgeId(Uuid::nil()),
            site: SiteId(Uuid::nil()),
            prefix: "ghe_x".to_owned(),
            token_hash: [0; 32],
            created_at: NOW,
            revoked_at: None,
            expires_at: expires.map(|hours| NOW + Duration::hours(hours)),
            last_used_at: used.map(|minutes| NOW - Duration::minutes(minutes)),
            edge_disabled: false,
        }
    }

    fn change_over(rows: Vec<CredentialRow>) -> Option<ChangeOver> {
        shown(rows, NOW).1
    }

    #[test]
    fn it_is_told_whether_the_edge_has_changed_over() {
        let ends_at = |hours| NOW + Duration::hours(hours);
        assert_eq!(change_over(vec![row(1, None, Some(1))]), None);
        assert_eq!(
            change_over(vec![row(1, Some(20), Some(1)), row(2, None, None)]),
            Some(ChangeOver::Awaited { ends_at: ends_at(20), soon: false })
        );
        assert_eq!(
            change_over(vec![row(1, Some(2), Some(1)), row(2, None, Some(9))]),
            Some(ChangeOver::Awaited { ends_at: ends_at(2), soon: true })
        );
        let done = vec![row(1, Some(20), Some(9)), row(2, None, Some(1))];
        assert_eq!(change_over(done.clone()), Some(ChangeOver::Done));
        let (shown, _) = shown(done, NOW);
        assert_eq!(shown.iter().map(|shown| shown.latest).collect::<Vec<_>>(), [true, false]);
        assert_eq!(change_over(vec![row(1, Some(-1), Some(90)), row(2, None, Some(1))]), None);
    }
}
