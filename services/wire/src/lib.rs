//! What edges say and are told: bodies read into values of `domain`, and values written as answers.
//!
//! The NAC service and the agent beside an edge read and write the same bodies with the same code, so that an answer
//! does not depend on which of the two gave it. Pure: no I/O, no clock. It must not know any store.

pub mod authorize;
pub mod bundle;
pub mod events;
pub mod fields;
pub mod report;
pub mod schema;
