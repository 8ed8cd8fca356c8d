-- Several kinds of work per link, targeted looks at devices, paced and held commands.

ALTER TABLE sync_job DROP CONSTRAINT sync_job_kind_check;
ALTER TABLE sync_job ADD CONSTRAINT sync_job_kind_check CHECK (kind IN
    -- The whole fleet; what changed at Entra ID; devices worth a look now; what lists leave out; time that passes.
    ('sweep', 'delta', 'look', 'enrich', 'clock'));
INSERT INTO sync_job (org_id, link_id, kind, next_due_at)
SELECT j.org_id, j.link_id, k.kind, j.next_due_at
FROM sync_job j CROSS JOIN (VALUES ('delta'), ('look'), ('enrich'), ('clock')) AS k (kind)
WHERE j.kind = 'sweep'
ON CONFLICT DO NOTHING;

ALTER TABLE device
    -- When it is worth a look of its own; NULL: sweeps and delta are enough.
    ADD COLUMN next_look_at timestamptz,
    -- When what lists leave out (ethernet MAC, UDID) was last asked for; NULL: never.
    ADD COLUMN enriched_at  timestamptz,
    ADD COLUMN udid         text,
    -- The record as Microsoft Graph gave it.
    ADD COLUMN raw          jsonb;
CREATE INDEX device_next_look ON device (org_id, link_id, next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX device_unenriched ON device (org_id, link_id, id) WHERE enriched_at IS NULL;
-- The inventory is listed and searched by name.
CREATE INDEX device_listed ON device (org_id, name_key, link_id, id);

-- Looks that somebody asked for: an admin, a client's own "check again", or a decision that found no device.
CREATE TABLE look_wish (
    org_id   uuid NOT NULL,
    link_id  uuid NOT NULL,
    -- What is to be looked up, as a domain::resolver::LookupKey.
    key      text NOT NULL,
    reason   text NOT NULL CHECK (reason IN ('admin', 'client', 'unmatched', 'entra')),
    asked_at timestamptz NOT NULL,
    due_at   timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, link_id, key),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id) ON DELETE CASCADE
);
CREATE INDEX look_wish_due ON look_wish (org_id, link_id, due_at);

ALTER TABLE device_transition
    -- The kind of work that saw it.
    ADD COLUMN noticed_by    text,
    -- The earliest moment at which Microsoft can have shown the change: the device's check-in that brought it, or our
    -- last look that did not show it. at - visible_after is the first of the two published clocks.
    ADD COLUMN visible_after timestamptz;
CREATE INDEX device_transition_link ON device_transition (org_id, link_id, at DESC);

-- Moves to a worse state that wait for an admin, because one sync would move too much of the fleet.
CREATE TABLE hold (
    org_id      uuid NOT NULL,
    id          uuid NOT NULL,
    link_id     uuid NOT NULL,
    -- suspected: the sync is still running; open: an admin is asked; cleared: it turned out to be few after all.
    state       text NOT NULL CHECK (state IN ('suspected', 'open', 'cleared', 'released', 'discarded')),
    opened_at   timestamptz NOT NULL,
    -- Devices that turned worse, and those that the link has.
    worse       integer NOT NULL,
    fleet       integer NOT NULL,
    decided_at  timestamptz,
    decided_by  text,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX hold_open ON hold (org_id, link_id) WHERE state IN ('suspected', 'open');
CREATE INDEX hold_opened ON hold (org_id, opened_at DESC);

ALTER TABLE command DROP CONSTRAINT command_state_check;
ALTER TABLE command
    ADD CONSTRAINT command_state_check CHECK (state IN
        ('held', 'pending', 'delivered', 'acked', 'failed', 'expired', 'superseded')),
    ADD COLUMN link_id    uuid,
    ADD COLUMN hold_id    uuid,
    -- Not handed out before: the edge's pace, jitter, or the calm that follows a flap.
    ADD COLUMN not_before timestamptz,
    -- When Gatehouse learned of the change that asks for the move: finished_at - noticed_at is the second clock.
    ADD COLUMN noticed_at timestamptz;
DROP INDEX command_open;
CREATE UNIQUE INDEX command_open ON command (org_id, session_id) WHERE state IN ('held', 'pending', 'delivered');
CREATE INDEX command_hold ON command (org_id, hold_id) WHERE hold_id IS NOT NULL;
CREATE INDEX command_link ON command (org_id, link_id, finished_at DESC) WHERE link_id IS NOT NULL;

ALTER TABLE org
    ADD COLUMN mass_change_percent integer NOT NULL DEFAULT 20 CHECK (mass_change_percent BETWEEN 1 AND 100),
    ADD COLUMN mass_change_min     integer NOT NULL DEFAULT 50 CHECK (mass_change_min BETWEEN 1 AND 1000000);

ALTER TABLE link
    -- Microsoft's cloud: global, gcc_high, dod, china, custom.
    ADD COLUMN cloud  text NOT NULL DEFAULT 'global',
    -- The organization's own app registration; NULL: Gatehouse's.
    ADD COLUMN app_id uuid;

-- Data keys, each wrapped with the operator's master key; what they encrypt never leaves the organization's rows.
CREATE TABLE org_key (
    org_id     uuid NOT NULL REFERENCES org,
    id         uuid NOT NULL,
    -- Names the master key that wraps it.
    master_id  text NOT NULL,
    wrapped    bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id)
);

-- App registrations that organizations bring.
CREATE TABLE app_registration (
    org_id      uuid NOT NULL REFERENCES org,
    id          uuid NOT NULL,
    cloud       text NOT NULL,
    client_id   uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX app_registration_client ON app_registration (org_id, cloud, client_id);
ALTER TABLE link ADD FOREIGN KEY (org_id, app_id) REFERENCES app_registration (org_id, id);

CREATE TABLE app_credential (
    org_id      uuid NOT NULL,
    id          uuid NOT NULL,
    app_id      uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('certificate', 'secret')),
    -- Of a certificate: DER, and SHA-256 of it.
    certificate bytea,
    thumbprint  bytea,
    not_before  timestamptz,
    not_after   timestamptz,
    -- The private key (PKCS #8) or the secret, encrypted with the data key.
    key_id      uuid NOT NULL,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    -- Microsoft took it.
    proven_at   timestamptz,
    retired_at  timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, app_id) REFERENCES app_registration (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, key_id) REFERENCES org_key (org_id, id)
);
CREATE INDEX app_credential_app ON app_credential (org_id, app_id);

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['look_wish', 'hold', 'org_key', 'app_registration', 'app_credential'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY org ON %I USING (org_id = app_org()) WITH CHECK (org_id = app_org())',
            tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', tenant_table);
    END LOOP;
END
$$;
