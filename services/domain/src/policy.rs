//! The policy: labels, ordered rules, and the engine that evaluates them and explains itself.

pub mod compile;
pub mod decide;
pub mod diff;
pub mod draft;
pub mod edit;
pub mod explain;
#[cfg(test)]
pub(crate) mod generate;
pub mod keys;
pub mod lint;
pub mod model;
pub mod replay;
pub mod results;
pub mod trace;
pub mod transfer;
pub mod value;

pub use compile::CompiledPolicy;
pub use decide::{decide, evaluate};
pub use draft::FieldError;
pub use model::{
    Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Row, Rule, Section,
    SingleValued, UsernameAttr,
};
