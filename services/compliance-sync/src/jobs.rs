//! The kinds of work that a link needs.

pub(crate) mod ask;
pub(crate) mod clock;
pub(crate) mod confirm;
pub(crate) mod cursor;
pub(crate) mod delta;
pub(crate) mod enrich;
pub(crate) mod failure;
pub(crate) mod look;
pub(crate) mod stop;
pub(crate) mod sweep;
pub(crate) mod write;
