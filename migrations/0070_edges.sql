-- Edges that are switched off, credentials that end by themselves, and what edges are heard to say of themselves.

ALTER TABLE edge
    -- Its credentials are refused; it stays for its history.
    ADD COLUMN disabled_at timestamptz;

ALTER TABLE edge_credential
    -- Refused from then on: it was replaced. NULL: it holds until it is revoked.
    ADD COLUMN expires_at   timestamptz,
    -- Written once in a while, not with every request.
    ADD COLUMN last_used_at timestamptz;

-- All tokens of an organization begin alike, so the beginning alone tells none apart: the end of their public part is
-- added. It is made of ids, which are no secret.
ALTER TABLE edge_credential NO FORCE ROW LEVEL SECURITY;
UPDATE edge_credential
SET prefix = 'ghe_' || left(place, 4) || '…' || right(place, 6) || '_'
FROM (SELECT org_id AS org, id AS credential,
             rtrim(translate(encode(uuid_send(org_id) || uuid_send(id), 'base64'), '+/', '-_'), '=') AS place
      FROM edge_credential) t
WHERE org_id = t.org AND id = t.credential;
ALTER TABLE edge_credential FORCE ROW LEVEL SECURITY;

-- How an edge stands, as its requests and its agent tell it. Beside the edge's own row, because it changes all the
-- time.
CREATE TABLE edge_status (
    org_id            uuid NOT NULL,
    edge_id           uuid NOT NULL,
    -- By how much the edge's clock is ahead of ours, and when that was seen.
    skew_milliseconds bigint,
    skew_at           timestamptz,
    -- When it last asked for commands by a long poll, and when it last held a stream.
    polled_at         timestamptz,
    streamed_at       timestamptz,
    -- What its agent last said of itself (wire::report::Report).
    report            jsonb,
    reported_at       timestamptz,
    -- A command that does nothing, by which an admin sees whether commands get through.
    probe_id          uuid,
    probe_at          timestamptz,
    probe_given_at    timestamptz,
    probe_answered_at timestamptz,
    -- What the answer said.
    probe_result      text,
    PRIMARY KEY (org_id, edge_id),
    FOREIGN KEY (org_id, edge_id) REFERENCES edge (org_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);

-- The programs that call for an edge, by their User-Agent.
CREATE TABLE edge_caller (
    org_id  uuid NOT NULL,
    edge_id uuid NOT NULL,
    name    text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, edge_id, name),
    FOREIGN KEY (org_id, edge_id) REFERENCES edge (org_id, id) ON DELETE CASCADE
);

-- Decisions by edge and minute, so that a page need not count events. Kept for two days.
CREATE TABLE edge_minute (
    org_id  uuid NOT NULL,
    edge_id uuid NOT NULL,
    minute  timestamptz NOT NULL,
    permits bigint NOT NULL,
    denies  bigint NOT NULL,
    PRIMARY KEY (org_id, edge_id, minute),
    FOREIGN KEY (org_id, edge_id) REFERENCES edge (org_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);

-- What came to nothing lately.
CREATE INDEX command_failed ON command (org_id, edge_id, finished_at DESC) WHERE state IN ('failed', 'expired');

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['edge_status', 'edge_caller', 'edge_minute'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY org ON %I USING (org_id = app_org()) WITH CHECK (org_id = app_org())',
            tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', tenant_table);
    END LOOP;
END
$$;
