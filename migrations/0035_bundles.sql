-- What a site decides from while the cloud is away, in versions, so that an edge fetches only what changed.

ALTER TABLE site
    -- The VLAN of clients of which nothing can be said; NULL: they are denied.
    ADD COLUMN fallback_vlan          text CHECK (length(fallback_vlan) BETWEEN 1 AND 64),
    -- An edge decides from a bundle that is no older.
    ADD COLUMN bundle_max_age_seconds integer NOT NULL DEFAULT 604800
        CHECK (bundle_max_age_seconds BETWEEN 60 AND 7776000);

CREATE TABLE bundle (
    org_id   uuid NOT NULL,
    site_id  uuid NOT NULL,
    -- Grows with every change of its facts.
    version  bigint NOT NULL,
    -- When the facts were last gathered.
    built_at timestamptz NOT NULL,
    -- The organization's revision then.
    revision bigint NOT NULL,
    -- What is gone is remembered from this version on; an edge that holds an older one fetches the whole.
    since    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, site_id),
    FOREIGN KEY (org_id, site_id) REFERENCES site (org_id, id) ON DELETE CASCADE
);

CREATE TABLE bundle_fact (
    org_id     uuid NOT NULL,
    site_id    uuid NOT NULL,
    name       text NOT NULL,
    -- SHA-256 of the value.
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    -- The text that is handed out; NULL: the fact is gone.
    value      text,
    -- The version that brought it, or took it away.
    version    bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, site_id, name),
    FOREIGN KEY (org_id, site_id) REFERENCES bundle (org_id, site_id) ON DELETE CASCADE
);
CREATE INDEX bundle_fact_version ON bundle_fact (org_id, site_id, version);

-- The clients that a site saw lately.
CREATE INDEX session_site_decided ON session (org_id, site_id, decided_at DESC);

DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['bundle', 'bundle_fact'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY org ON %I USING (org_id = app_org()) WITH CHECK (org_id = app_org())',
            tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', tenant_table);
    END LOOP;
END
$$;
