-- What it takes to pace commands, to hold them, and to carry messages in turns.

-- Devices that turned worse lately, each once: what the breaker counts. One that turned back is taken out again.
CREATE TABLE turned_worse (
    org_id    uuid NOT NULL,
    link_id   uuid NOT NULL,
    device_id uuid NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (org_id, link_id, device_id),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id) ON DELETE CASCADE
);
CREATE INDEX turned_worse_at ON turned_worse (org_id, link_id, at);
ALTER TABLE turned_worse ENABLE ROW LEVEL SECURITY;
ALTER TABLE turned_worse FORCE ROW LEVEL SECURITY;
CREATE POLICY org ON turned_worse USING (org_id = app_org()) WITH CHECK (org_id = app_org());
GRANT SELECT, INSERT, UPDATE, DELETE ON turned_worse TO gatehouse_app;

ALTER TABLE hold
    -- Devices that turned worse since then are counted; NULL: since it was opened.
    ADD COLUMN counted_since timestamptz;

ALTER TABLE command
    -- The device that the client was taken for when the move was planned.
    ADD COLUMN device_id uuid;
-- An edge fetches what is due, the longest due first; planning looks for a free moment.
DROP INDEX command_edge;
CREATE INDEX command_edge ON command (org_id, edge_id, not_before NULLS FIRST, id)
    WHERE state IN ('pending', 'delivered');
-- Whether a client was moved a moment ago, also where it came back as another session.
CREATE INDEX command_moved ON command (org_id, mac, delivered_at DESC)
    WHERE mac IS NOT NULL AND delivered_at IS NOT NULL;
-- A hold that comes or goes concerns what has not been handed out yet.
CREATE INDEX command_waiting ON command (org_id, link_id, session_id) WHERE state IN ('held', 'pending');

-- Relays take a few messages of each organization in turn.
DROP INDEX outbox_due;
CREATE INDEX outbox_turn ON outbox (org_id, claimed_until NULLS FIRST, id);
