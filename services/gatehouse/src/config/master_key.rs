//! The keys that protect what organizations entrust to Gatehouse.

use sealing::{KeyListError, MasterKeys};

use super::reader::Reader;

pub(super) fn read(reader: &mut Reader) -> Option<MasterKeys> {
    let setting = reader.secret(
        "MASTER_KEY",
        "32 bytes in base64 (gatehouse master-key new): wraps the keys that seal the credentials of organizations' own \
         app registrations; a list with commas while it is changed, the new one first. Without it they bring none",
    )?;
    let told = |error: KeyListError| format!("{error}: make one with gatehouse master-key new");
    MasterKeys::parse(&setting).map_err(|error| reader.problem("MASTER_KEY", told(error))).ok()
}

/// For the commands that do nothing without it.
pub fn required(reader: &mut Reader) -> Option<MasterKeys> {
    let problems = reader.problems().len();
    let keys = read(reader);
    if keys.is_none() && reader.problems().len() == problems {
        reader.problem("MASTER_KEY", "is missing: make one with gatehouse master-key new");
    }
    keys
}
