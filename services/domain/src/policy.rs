//! The policy: labels, ordered rules, and the engine that evaluates them and explains itself.

pub mod compile;
pub mod decide;
pub mod diff;
pub mod draft;
pub mod edit;
pub mod model;

pub use compile::CompiledPolicy;
pub use decide::decide;
pub use draft::FieldError;
pub use model::{
    Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule, SingleValued,
};
