//! The inventory: every managed device in the order of names, searched and filtered; and all that is known of one.

mod one;
mod search;

pub use one::{
    DetailRow, DeviceCommand, HistoryRow, MatchedSession, Twin, WaitingLook, commands, history, one,
    sessions, twins, waiting,
};
pub use search::{DeviceCursor, DeviceFilter, DeviceRow, DeviceText, Eyes, list, systems};
