//! What to do about one session. Pure.

use domain::HoldId;
use domain::coa::hold::HoldState;
use domain::coa::{CoaCause, CoaKind, CoaPlan, plan};
use domain::command::{CommandState, Next};
use domain::decision::Outcome;
use store::commands::LatestCommand;
use store::sessions::ActiveSession;
use time::{Duration, OffsetDateTime};

/// The same answer as before: the move is off.
pub(super) const SAME_AGAIN: &str = "the answer is the same again";
/// An admin wants none of the moves that were held.
pub(super) const DISCARDED: &str = "an admin discarded it";

/// What to do about one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// A command waits that is no longer wanted, for the reason given.
    Withdraw(&'static str),
    /// A command that no edge was told of waits for an admin from now on.
    Hold(HoldId),
    /// The command that was held goes out.
    Release,
    Send {
        kind: CoaKind,
        to: Outcome,
        /// It waits for an admin.
        hold: Option<HoldId>,
    },
}

/// All that the choice depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub session: &'a ActiveSession,
    /// What it would be answered now.
    pub wanted: &'a Outcome,
    pub kind: CoaKind,
    pub cause: CoaCause,
    /// The move is to a worse state.
    pub worse: bool,
    /// The link's hold because of which such moves wait.
    pub hold: Option<HoldId>,
    pub latest: Option<&'a LatestCommand>,
    pub now: OffsetDateTime,
    pub repeat_after: Duration,
}

impl Case<'_> {
    /// Chooses. A command that waits for the same move is enough; one that was carried out, refused or lost is not
    /// repeated within `repeat_after` while the session still stands on the answer that it was to replace; and one
    /// that an admin discarded not until the device or the answer changes.
    pub(super) fn step(&self) -> Step {
        let open = self.latest.filter(|command| command.state.is_open());
        match plan(&self.session.outcome, self.wanted, self.kind) {
            CoaPlan::Keep => match open {
                // An admin asked for it whatever the answer is.
                Some(command) if command.cause == CoaCause::AdminAsked => Step::Nothing,
                Some(_) => Step::Withdraw(SAME_AGAIN),
                None => Step::Nothing,
            },
            CoaPlan::Move { kind, to } => {
                let hold = self.hold.filter(|_| self.worse && self.cause == CoaCause::ComplianceChanged);
                match self.latest.filter(|command| command.to == to) {
                    Some(command) if self.is_discarded(command) => match open {
                        Some(_) => Step::Withdraw(DISCARDED),
                        None => Step::Nothing,
                    },
                    Some(command) if command.state.is_open() && command.kind == kind => {
                        match (command.state, hold) {
                            (CommandState::Held, None) => Step::Release,
                            (CommandState::Pending, Some(hold)) => Step::Hold(hold),
                            _ => Step::Nothing,
                        }
                    }
                    Some(command) if self.was_told(command) => Step::Nothing,
                    _ => Step::Send { kind, to, hold },
                }
            }
        }
    }

    /// An admin discarded this very move, and nothing happened since.
    fn is_discarded(&self, command: &LatestCommand) -> bool {
        command.hold == Some(HoldState::Discarded)
            && matches!(command.state, CommandState::Held | CommandState::Superseded)
            && command.answered_at == Some(self.session.decided_at)
            && !command.changed_since
    }

    /// The edge had its chance with this very move a while ago, or the NAS knows nobody to move.
    fn was_told(&self, command: &LatestCommand) -> bool {
        let since = command.not_before.map_or(command.created_at, |due| due.max(command.created_at));
        let is_gone = command.answer.is_some_and(|answer| answer.next() == Next::Gone);
        matches!(command.state, CommandState::Acked | CommandState::Failed | CommandState::Expired)
            && command.answered_at == Some(self.session.decided_at)
            && (is_gone || self.now - since < self.repeat_after)
    }
}
