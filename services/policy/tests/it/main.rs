//! The policy service against a real PostgreSQL.

#[cfg(test)]
mod drafts;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod world;
