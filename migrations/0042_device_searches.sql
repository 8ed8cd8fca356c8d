-- Columns and indexes for the inventory and the link's page, so that they hold at ten million devices.

ALTER TABLE device
    -- The order of the inventory: names in lower case by their bytes, those without a name last. Collation "C" makes
    -- the start of a name a range of the index, whatever the database's own collation is.
    ADD COLUMN list_key text COLLATE "C" GENERATED ALWAYS AS (coalesce(name_key, E'\U0010FFFF')) STORED,
    ADD COLUMN user_key text COLLATE "C" GENERATED ALWAYS AS (lower(user_principal_name)) STORED;
DROP INDEX device_listed;
-- Each filter comes in the list's order, so that a page costs what it shows.
CREATE INDEX device_listed ON device (org_id, list_key, link_id, id);
CREATE INDEX device_listed_link ON device (org_id, link_id, list_key, id);
CREATE INDEX device_listed_state ON device (org_id, compliance, list_key, link_id, id);
DROP INDEX device_compliance;
CREATE INDEX device_listed_os ON device (org_id, os, list_key, link_id, id) WHERE os IS NOT NULL;
CREATE INDEX device_listed_owner ON device (org_id, owner, list_key, link_id, id) WHERE owner IS NOT NULL;
CREATE INDEX device_listed_missing ON device (org_id, list_key, link_id, id) WHERE missing_since IS NOT NULL;
CREATE INDEX device_listed_hot ON device (org_id, list_key, link_id, id) WHERE next_look_at IS NOT NULL;
-- States that Microsoft added later.
CREATE INDEX device_listed_other ON device (org_id, list_key, link_id, id) WHERE compliance NOT IN
    ('compliant', 'inGracePeriod', 'noncompliant', 'unknown', 'error', 'conflict', 'configManager');
CREATE INDEX device_user ON device (org_id, user_key, link_id, id) WHERE user_key IS NOT NULL;

-- Sessions of a device: those that are active, and its history.
CREATE INDEX session_device_active ON session (org_id, device_id) WHERE ended_at IS NULL AND device_id IS NOT NULL;
CREATE INDEX session_device ON session (org_id, device_id, started_at DESC) WHERE device_id IS NOT NULL;
-- What waits for an admin.
CREATE INDEX command_held ON command (org_id, device_id, link_id) WHERE state = 'held';
-- The moves of a hold, page by page, also once they were decided on.
DROP INDEX command_hold;
CREATE INDEX command_hold ON command (org_id, hold_id, id) WHERE hold_id IS NOT NULL;
