//! Changing the master key: every organization's data keys are wrapped anew. What they sealed stays as it is.

use anyhow::Context as _;
use sealing::MasterKeys;
use secrecy::ExposeSecret as _;
use store::{Store, StoreConfig};

use crate::config::{Reader, Sources, master_key};

/// Organizations in one page.
const PAGE: i64 = 500;

/// Wraps what is not wrapped with the first key. Every key that wraps something must be in the list. Doing it twice
/// does no harm, nor does being interrupted. Returns what was done, for people.
pub async fn rotate(sources: Sources) -> anyhow::Result<String> {
    let mut reader = Reader::new(sources);
    let url = reader
        .required_secret("DATABASE_URL", "URL of PostgreSQL, as a role that is NOSUPERUSER NOBYPASSRLS");
    let keys = master_key::required(&mut reader);
    // The same file may serve the other commands.
    if let Some(problem) = reader.problems().first() {
        anyhow::bail!("{problem}");
    }
    let keys = keys.context("no master key is set")?;
    let store = Store::connect(&StoreConfig::new(url.expose_secret()))?;
    let done = rewrap(&store, &keys).await;
    store.close().await;
    let (wrapped, organizations) = done?;
    let id = keys.current_id();
    Ok(format!(
        "{wrapped} data keys of {organizations} organizations were wrapped with the master key {id}. The other keys of \
         the list are not needed any more."
    ))
}

/// Returns the data keys that were wrapped anew, and of how many organizations.
pub async fn rewrap(store: &Store, keys: &MasterKeys) -> anyhow::Result<(usize, usize)> {
    let (mut wrapped, mut organizations, mut after) = (0, 0, None);
    loop {
        let mut tx = store.system().await?;
        let page = store::orgs::ids_after(&mut tx, after, PAGE).await?;
        tx.commit().await?;
        for org in &page {
            let mut tx = store.org(*org).await?;
            let count = apps::rewrap(&mut tx, keys).await.with_context(|| format!("organization {org}"))?;
            tx.commit().await?;
            wrapped += count;
            organizations += usize::from(count > 0);
        }
        match page.last() {
            Some(last) => after = Some(*last),
            None => return Ok((wrapped, organizations)),
        }
    }
}
