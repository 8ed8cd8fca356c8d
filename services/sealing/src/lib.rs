//! Envelope encryption of what organizations entrust to Gatehouse: private keys and client secrets. Beside it, the
//! tokens of remediation pages ([`PageKeys`]), whose key is another one: processes that face edges need it.
//!
//! * Each organization has data keys of its own ([`DataKey`]). They encrypt its secrets, and are stored wrapped.
//! * The operator's master keys ([`MasterKeys`]) wrap data keys and nothing else, so that changing the master key
//!   means to wrap some data keys again, not to encrypt every secret again.
//! * Everything is bound to its place ([`Place`]): a ciphertext that was moved to another organization, another row
//!   or another column does not open.
//!
//! AES-256-GCM of aws-lc-rs with random nonces of 96 bits; one key may seal 2^32 times (NIST SP 800-38D, 8.3), and
//! an organization's key seals a few times a year. Keys and plaintexts are zeroized when dropped and have no `Debug`
//! that shows them. It must not do I/O, and knows nothing of what it seals.

mod data_key;
mod key_list;
mod master_key;
mod page_token;
mod seal;

pub use data_key::DataKey;
pub use key_list::KeyListError;
pub use master_key::{MasterKeys, WrappedKey};
pub use page_token::{PAGE_TOKEN_CHARS, PageKeys, PageToken};
pub use seal::{Place, Purpose, SealError};
