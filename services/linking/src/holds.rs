//! An admin decides on the moves that are held: they go out, or none of them does.

use domain::coa::hold::{Hold, HoldState};
use domain::outbox::OutboxMessage;
use domain::{HoldId, OrgId};
use serde_json::json;
use store::{StoreError, accounts, audit, events, holds, links, outbox};

use crate::{Linking, SignedIn, Words, actor};

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedHold {
    pub hold: Hold,
    pub tenant_name: String,
    /// Moves that waited because of it.
    pub moves: u64,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is no such hold in an organization of theirs.
    #[error("there is no such hold")]
    NotFound,
    /// Somebody else decided meanwhile, or it came to nothing.
    #[error("it was decided already: {}", .0.state)]
    Decided(Box<Hold>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HoldError {
    /// For a page.
    #[must_use]
    pub fn words(&self) -> Words {
        match self {
            Self::NotFound => Words::new(
                "Nothing is held here",
                "The account was unlinked, or the page is an old one.",
                "Look at the list of what is held.",
            ),
            Self::Decided(hold) => {
                let by = hold.decided_by.as_deref().unwrap_or("Gatehouse");
                let cause = match hold.state {
                    HoldState::Released => format!("{by} released the moves meanwhile."),
                    HoldState::Discarded => format!("{by} discarded the moves meanwhile."),
                    HoldState::Cleared | HoldState::Suspected | HoldState::Open => {
                        "The devices turned back meanwhile, so that few moves were left. They went out."
                            .to_owned()
                    }
                };
                Words::new("It was decided already", cause, "There is nothing left to do.")
            }
            Self::Store(_) => Words::store(),
        }
    }
}

impl Linking {
    /// Lets the held moves go out, each edge at its pace.
    ///
    /// # Errors
    /// [`HoldError::Decided`] where somebody was faster.
    pub async fn release_hold(
        &self,
        org: OrgId,
        who: &SignedIn,
        hold: HoldId,
    ) -> Result<DecidedHold, HoldError> {
        self.decide_hold(org, who, hold, HoldState::Released, "hold.release").await
    }

    /// Drops the held moves: those sessions keep what they were answered until the device changes again or the
    /// client authenticates again.
    ///
    /// # Errors
    /// [`HoldError::Decided`] where somebody was faster.
    pub async fn discard_hold(
        &self,
        org: OrgId,
        who: &SignedIn,
        hold: HoldId,
    ) -> Result<DecidedHold, HoldError> {
        self.decide_hold(org, who, hold, HoldState::Discarded, "hold.discard").await
    }

    /// Audit line, event and the word to planning, in the transaction of the decision. Planning then moves or drops
    /// the commands in short steps, however many they are.
    async fn decide_hold(
        &self,
        org: OrgId,
        who: &SignedIn,
        id: HoldId,
        decision: HoldState,
        action: &str,
    ) -> Result<DecidedHold, HoldError> {
        let now = self.now();
        let mut tx = self.store().org(org).await?;
        if !accounts::is_member(&mut tx, who.account).await? {
            return Err(HoldError::NotFound);
        }
        let mut hold = holds::lock(&mut tx, id).await?.ok_or(HoldError::NotFound)?;
        if !hold.state.is_active() {
            return Err(HoldError::Decided(Box::new(hold)));
        }
        let link = links::get(&mut tx, hold.link).await?.ok_or(HoldError::NotFound)?;
        let moves = holds::held(&mut tx, id).await?;
        let actor = actor(who);
        hold.state = decision;
        hold.decided_at = Some(now);
        hold.decided_by = Some(actor.name.clone());
        holds::save(&mut tx, &hold).await?;
        // The admin has seen them: what turns worse from now on counts anew.
        holds::forget_turns(&mut tx, hold.link, None).await?;
        let detail = json!({ "hold": id, "link": hold.link, "worse": hold.worse, "moves": moves });
        audit::write(&mut tx, self.ids(), now, &actor, action, &link.tenant_name, detail).await?;
        let line = hold.event(org, &link.tenant_name, self.ids().make(now), now);
        events::append(&mut tx, &line).await?;
        outbox::enqueue(&mut tx, self.ids(), now, &OutboxMessage::HoldChanged { link: hold.link }).await?;
        tx.commit().await?;
        tracing::info!(%org, hold = %id, moves, %decision, "a hold was decided");
        Ok(DecidedHold { hold, tenant_name: link.tenant_name, moves })
    }
}
