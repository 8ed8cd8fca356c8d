//! The kinds of work that a link needs.

pub(crate) mod confirm;
pub(crate) mod cursor;
pub(crate) mod failure;
pub(crate) mod sweep;
pub(crate) mod write;
