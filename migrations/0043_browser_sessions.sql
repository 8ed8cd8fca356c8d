-- Browser sessions. Not tenant data: a person may be a member of several organizations, or of none yet. They are here
-- and not in Redis, because an emptied Redis must not sign anybody out.
CREATE TABLE browser_session (
    -- SHA-256 of the cookie's id: who reads this table cannot take over a session.
    id_hash    bytea PRIMARY KEY CHECK (length(id_hash) = 32),
    data       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX browser_session_expires ON browser_session (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON browser_session TO gatehouse_app;
