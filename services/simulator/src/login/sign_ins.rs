//! Authorization codes and sign-in cookies.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

/// What an authorization code stands for.
#[derive(Debug, Clone)]
pub struct Code {
    pub client_id: String,
    pub redirect_uri: String,
    /// The authority as it stood in the authorize URL: the code is good there alone.
    pub authority: String,
    pub tenant: Uuid,
    pub user: Uuid,
    pub scope: String,
    pub nonce: Option<String>,
    /// The S256 challenge.
    pub challenge: Option<String>,
    pub issued: OffsetDateTime,
    pub redeemed: bool,
}

#[derive(Debug, Default)]
pub struct SignIns {
    codes: HashMap<String, Code>,
    /// By cookie: tenant and user.
    sessions: HashMap<String, (Uuid, Uuid)>,
}

impl SignIns {
    /// Keeps `code`; forgets codes issued before `horizon`.
    pub fn issue(&mut self, value: String, code: Code, horizon: OffsetDateTime) {
        self.codes.retain(|_, code| code.issued > horizon);
        self.codes.insert(value, code);
    }

    pub fn code_mut(&mut self, value: &str) -> Option<&mut Code> {
        self.codes.get_mut(value)
    }

    pub fn sign_in(&mut self, cookie: String, tenant: Uuid, user: Uuid) {
        self.sessions.insert(cookie, (tenant, user));
    }

    pub fn sign_out(&mut self, cookie: &str) {
        self.sessions.remove(cookie);
    }

    #[must_use]
    pub fn signed_in(&self, cookie: &str) -> Option<(Uuid, Uuid)> {
        self.sessions.get(cookie).copied()
    }
}
