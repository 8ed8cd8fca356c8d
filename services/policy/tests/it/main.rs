//! The policy service against a real PostgreSQL.

#[cfg(test)]
mod drafts;
