-- The schema of Gatehouse. Forward-only.
--
-- * org_id leads every primary key, unique index and foreign key of tenant data, so that the schema can be
--   distributed by organization without change.
-- * Row level security with FORCE and WITH CHECK stands on every table of tenant data. A transaction names its
--   organization with SET LOCAL app.org_id; without it, it sees nothing.
-- * A few tables are also read by workers that look across organizations: SET LOCAL app.scope = 'system'. They
--   learn ids there, and do their work in a transaction of the organization.
-- * gatehouse_app, the role of every running process, is NOSUPERUSER NOBYPASSRLS and owns nothing.
-- * Times come from the application as arguments; there is no now() here.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gatehouse_app') THEN
        CREATE ROLE gatehouse_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
END
$$;

CREATE FUNCTION app_org() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.org_id', true), '')::uuid $$;
CREATE FUNCTION app_is_system() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('app.scope', true) = 'system', false) $$;

-- People. Not tenant data: a person is known by Entra's (tid, oid) and may be a member of several organizations.
CREATE TABLE account (
    id           uuid PRIMARY KEY,
    tid          uuid NOT NULL,
    oid          uuid NOT NULL,
    name         text NOT NULL,
    user_name    text NOT NULL,
    created_at   timestamptz NOT NULL,
    signed_in_at timestamptz NOT NULL,
    UNIQUE (tid, oid)
);

CREATE TABLE org (
    org_id                uuid PRIMARY KEY,
    name                  text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    -- The Entra tenant whose first sign-in created it.
    home_tid              uuid NOT NULL,
    created_at            timestamptz NOT NULL,
    -- Grows with every change of settings, links or the live policy.
    revision              bigint NOT NULL DEFAULT 1,
    stale_after_seconds   integer NOT NULL DEFAULT 86400 CHECK (stale_after_seconds BETWEEN 300 AND 31536000),
    grace_is_compliant    boolean NOT NULL DEFAULT true,
    coa                   text NOT NULL DEFAULT 'reauth' CHECK (coa IN ('reauth', 'disconnect', 'port_bounce')),
    policy_version        integer
);
-- One organization is created by a tenant's first sign-in; more need an invitation.
CREATE UNIQUE INDEX org_home_tid ON org (home_tid);

CREATE TABLE member (
    org_id     uuid NOT NULL REFERENCES org,
    account_id uuid NOT NULL REFERENCES account (id),
    role       text NOT NULL CHECK (role IN ('admin')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, account_id)
);
CREATE INDEX member_account ON member (account_id);

CREATE TABLE audit (
    org_id     uuid NOT NULL REFERENCES org,
    id         uuid NOT NULL,
    at         timestamptz NOT NULL,
    -- NULL where Gatehouse itself acted.
    account_id uuid,
    actor      text NOT NULL,
    -- For example policy.publish, link.create, edge.revoke.
    action     text NOT NULL,
    target     text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (org_id, id)
);
CREATE INDEX audit_at ON audit (org_id, at DESC);

CREATE TABLE site (
    org_id     uuid NOT NULL REFERENCES org,
    id         uuid NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX site_name ON site (org_id, lower(name));

CREATE TABLE edge (
    org_id       uuid NOT NULL,
    id           uuid NOT NULL,
    site_id      uuid NOT NULL,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, site_id) REFERENCES site (org_id, id)
);
CREATE UNIQUE INDEX edge_name ON edge (org_id, lower(name));

-- A token is `ghe_<org><credential>_<secret>`: it says where to look, and only a hash of the secret is here.
CREATE TABLE edge_credential (
    org_id      uuid NOT NULL,
    id          uuid NOT NULL,
    edge_id     uuid NOT NULL,
    -- The token's first characters, to tell it apart in lists.
    prefix      text NOT NULL,
    -- SHA-256 of the whole token: 256 random bits need no slow hash.
    token_hash  bytea NOT NULL CHECK (length(token_hash) = 32),
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, edge_id) REFERENCES edge (org_id, id)
);
CREATE INDEX edge_credential_edge ON edge_credential (org_id, edge_id);

-- A linked account: one Entra tenant (Intune) of an organization.
CREATE TABLE link (
    org_id           uuid NOT NULL REFERENCES org,
    id               uuid NOT NULL,
    provider         text NOT NULL CHECK (provider IN ('intune')),
    tid              uuid NOT NULL,
    tenant_name      text NOT NULL,
    -- connected, consent_missing, consent_revoked, disabled_by_tenant, permission_missing, no_intune,
    -- blocked_by_ca, tenant_gone, credential_failing, throttled, unreachable.
    state            text NOT NULL,
    -- What Microsoft said, for people; NULL while connected.
    state_detail     text,
    state_since      timestamptz NOT NULL,
    linked_by        uuid NOT NULL REFERENCES account (id),
    linked_by_name   text NOT NULL,
    linked_at        timestamptz NOT NULL,
    -- Start of the last sweep that went through; NULL: none ever did.
    confirmed_at     timestamptz,
    -- Devices are numbered as they come, so that a sweep marks the ones it saw in a bitmap.
    next_ordinal     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX link_tid ON link (org_id, tid);

CREATE TABLE device (
    org_id           uuid NOT NULL,
    link_id          uuid NOT NULL,
    -- Graph's managedDevice.id.
    id               uuid NOT NULL,
    ordinal          integer NOT NULL,
    -- SHA-256 of what was fetched: equal means unchanged.
    content_hash     bytea NOT NULL,
    name             text,
    serial           text,
    entra_id         uuid,
    wifi_mac         macaddr,
    ethernet_mac     macaddr,
    compliance       text NOT NULL,
    grace_expires_at timestamptz,
    last_check_in    timestamptz,
    fetched_at       timestamptz NOT NULL,
    missing_since    timestamptz,
    enrolled_at      timestamptz,
    os               text,
    os_version       text,
    owner            text,
    encrypted        boolean,
    jailbroken       boolean,
    threat_state     text,
    category         text,
    manufacturer     text,
    model            text,
    user_principal_name text,
    management_state text,
    PRIMARY KEY (org_id, link_id, id),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id)
);
CREATE INDEX device_id ON device (org_id, id);
CREATE INDEX device_entra ON device (org_id, entra_id) WHERE entra_id IS NOT NULL;
CREATE INDEX device_serial ON device (org_id, lower(serial)) WHERE serial IS NOT NULL;
CREATE INDEX device_name ON device (org_id, lower(name)) WHERE name IS NOT NULL;
CREATE INDEX device_wifi_mac ON device (org_id, wifi_mac) WHERE wifi_mac IS NOT NULL;
CREATE INDEX device_ethernet_mac ON device (org_id, ethernet_mac) WHERE ethernet_mac IS NOT NULL;
CREATE INDEX device_compliance ON device (org_id, compliance);

-- Immutable: every change of a device's compliance that Gatehouse saw.
CREATE TABLE device_transition (
    org_id     uuid NOT NULL,
    id         uuid NOT NULL,
    link_id    uuid NOT NULL,
    device_id  uuid NOT NULL,
    at         timestamptz NOT NULL,
    -- NULL: the device was new; to_state NULL: its record is gone.
    from_state text,
    to_state   text,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX device_transition_device ON device_transition (org_id, device_id, at DESC);
CREATE INDEX device_transition_at ON device_transition (org_id, at DESC);

-- Leases of the sync workers.
CREATE TABLE sync_job (
    org_id       uuid NOT NULL,
    link_id      uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('sweep')),
    next_due_at  timestamptz NOT NULL,
    lease_owner  text,
    lease_until  timestamptz,
    -- Grows with every claim; a write of a job names the epoch it claimed, and a stale worker's finds no row.
    lease_epoch  bigint NOT NULL DEFAULT 0,
    fails        integer NOT NULL DEFAULT 0,
    -- Where the work stands, so that the next holder of the lease goes on from there.
    cursor       jsonb,
    -- An admin asked for it.
    requested_at timestamptz,
    PRIMARY KEY (org_id, link_id, kind),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX sync_job_due ON sync_job (next_due_at);

-- What the sweeps did, for people.
CREATE TABLE sync_run (
    org_id      uuid NOT NULL,
    id          uuid NOT NULL,
    link_id     uuid NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    pages       integer NOT NULL DEFAULT 0,
    seen        integer NOT NULL DEFAULT 0,
    changed     integer NOT NULL DEFAULT 0,
    transitions integer NOT NULL DEFAULT 0,
    -- NULL while it runs or where it went through.
    error       text,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, link_id) REFERENCES link (org_id, id) ON DELETE CASCADE
);
CREATE INDEX sync_run_link ON sync_run (org_id, link_id, started_at DESC);

-- The policy: one draft, and immutable versions. Whole documents (domain::policy::PolicyDoc).
CREATE TABLE policy_draft (
    org_id     uuid PRIMARY KEY REFERENCES org,
    -- Grows with every edit; an edit names the revision that it was made on.
    revision   bigint NOT NULL,
    document   jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL
);

CREATE TABLE policy_version (
    org_id       uuid NOT NULL REFERENCES org,
    version      integer NOT NULL,
    document     jsonb NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    PRIMARY KEY (org_id, version)
);

-- NAC history, partitioned by day. The partitions are reached only through this table.
CREATE TABLE event (
    org_id         uuid NOT NULL,
    at             timestamptz NOT NULL,
    id             uuid NOT NULL,
    kind           text NOT NULL,
    mac            macaddr,
    session_id     uuid,
    edge_id        uuid,
    site_id        uuid,
    summary        text NOT NULL,
    -- Of decisions only:
    auth_type      text,
    ssid           text,
    user_name      text,
    permit         boolean,
    reason         text,
    rule_id        uuid,
    rule_name      text,
    policy_version integer,
    vlan           text,
    role           text,
    verdict        text,
    match_strength text,
    device_id      uuid,
    -- domain::event::DecisionRecord of a decision; what else there is to say of other kinds.
    detail         jsonb NOT NULL,
    PRIMARY KEY (org_id, at, id)
) PARTITION BY RANGE (at);
CREATE INDEX event_mac ON event (org_id, mac, at DESC);
CREATE INDEX event_kind ON event (org_id, kind, at DESC);
CREATE INDEX event_session ON event (org_id, session_id, at DESC);
CREATE INDEX event_rule ON event (org_id, rule_id, at DESC) WHERE rule_id IS NOT NULL;
-- Where no day's partition was made in time, nothing is lost.
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- Makes the partition of a day. Runs as the owner, because running processes own nothing.
CREATE FUNCTION ensure_event_partition(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    part text := 'event_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_event_partition'));
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.event FOR VALUES FROM (%L) TO (%L)',
        part, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
END
$$;

-- Drops the partitions of days before one. Returns their names.
CREATE FUNCTION drop_event_partitions_before(day date) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.event'::regclass
          AND c.relname ~ '^event_[0-9]{8}$' AND to_date(substr(c.relname, 7), 'YYYYMMDD') < day
    LOOP
        EXECUTE format('DROP TABLE public.%I', part);
        RETURN NEXT part;
    END LOOP;
END
$$;

-- One client's stay. The id is made from edge and key, so that two replicas cannot make two of one.
CREATE TABLE session (
    org_id          uuid NOT NULL,
    id              uuid NOT NULL,
    edge_id         uuid NOT NULL,
    site_id         uuid NOT NULL,
    -- The edge's own name of it (Acct-Session-Id).
    session_key     text NOT NULL,
    mac             macaddr,
    user_name       text,
    ssid            text,
    auth_type       text,
    -- The last decision: what was asked, and what was answered (domain::decision::Outcome).
    decision_id     uuid,
    decided_at      timestamptz,
    request         jsonb,
    outcome         jsonb,
    rule_name       text,
    verdict         text,
    match_strength  text,
    link_id         uuid,
    device_id       uuid,
    device_name     text,
    policy_version  integer,
    -- Every key under which this client's device may be found (domain::resolver::LookupKey).
    lookup_keys     text[] NOT NULL DEFAULT '{}',
    -- Accounting.
    started_at      timestamptz NOT NULL,
    accounted_at    timestamptz,
    ended_at        timestamptz,
    framed_ip       inet,
    bytes_in        bigint,
    bytes_out       bigint,
    terminate_cause text,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX session_mac ON session (org_id, mac, started_at DESC);
CREATE INDEX session_started ON session (org_id, started_at DESC);
CREATE INDEX session_active ON session (org_id, id) WHERE ended_at IS NULL;
CREATE INDEX session_keys ON session USING gin (lookup_keys) WHERE ended_at IS NULL;

CREATE TABLE command (
    org_id       uuid NOT NULL,
    id           uuid NOT NULL,
    edge_id      uuid NOT NULL,
    session_id   uuid NOT NULL,
    session_key  text NOT NULL,
    mac          macaddr,
    kind         text NOT NULL CHECK (kind IN ('reauth', 'disconnect', 'port_bounce')),
    cause        text NOT NULL,
    from_outcome jsonb NOT NULL,
    to_outcome   jsonb NOT NULL,
    state        text NOT NULL CHECK (state IN ('pending', 'delivered', 'acked', 'failed', 'expired', 'superseded')),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    delivered_at timestamptz,
    deliveries   integer NOT NULL DEFAULT 0,
    finished_at  timestamptz,
    result       text,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, edge_id) REFERENCES edge (org_id, id)
);
-- A session has at most one command that is still wanted.
CREATE UNIQUE INDEX command_open ON command (org_id, session_id) WHERE state IN ('pending', 'delivered');
CREATE INDEX command_edge ON command (org_id, edge_id, id) WHERE state IN ('pending', 'delivered');
CREATE INDEX command_session ON command (org_id, session_id, created_at DESC);

-- Carries every change to Redis and to CoA planning (domain::outbox::OutboxMessage).
CREATE TABLE outbox (
    org_id        uuid NOT NULL,
    id            uuid NOT NULL,
    message       jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    -- A relay holds it until then; afterwards it is anybody's again.
    claimed_until timestamptz,
    attempts      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX outbox_id ON outbox (id);

-- Row level security.
DO $$
DECLARE
    tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'org', 'member', 'audit', 'site', 'edge', 'edge_credential', 'link', 'device', 'device_transition',
        'sync_job', 'sync_run', 'policy_draft', 'policy_version', 'event', 'session', 'command', 'outbox'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY org ON %I USING (org_id = app_org()) WITH CHECK (org_id = app_org())',
            tenant_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', tenant_table);
    END LOOP;
END
$$;
-- History is not rewritten.
REVOKE UPDATE, DELETE ON audit, event, device_transition, policy_version FROM gatehouse_app;

-- Across organizations: who is whose member, and which work is due.
CREATE POLICY system_read ON member FOR SELECT USING (app_is_system());
CREATE POLICY system_read ON org FOR SELECT USING (app_is_system());
CREATE POLICY system_read ON link FOR SELECT USING (app_is_system());
CREATE POLICY system_jobs ON sync_job USING (app_is_system()) WITH CHECK (app_is_system());
CREATE POLICY system_outbox ON outbox USING (app_is_system()) WITH CHECK (app_is_system());
CREATE POLICY system_read ON command FOR SELECT USING (app_is_system());

GRANT SELECT, INSERT, UPDATE ON account TO gatehouse_app;
GRANT EXECUTE ON FUNCTION ensure_event_partition(date), drop_event_partitions_before(date) TO gatehouse_app;
REVOKE EXECUTE ON FUNCTION ensure_event_partition(date), drop_event_partitions_before(date) FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO gatehouse_app;
