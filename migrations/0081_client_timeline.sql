-- A client's page tells all that happened to it, in the order of time.
CREATE INDEX command_mac ON command (org_id, mac, created_at DESC, id DESC) WHERE mac IS NOT NULL;
-- Looks at a device that people asked for. A column, because row level security keeps an index on an expression from
-- being used.
ALTER TABLE audit ADD COLUMN checked_device text
    GENERATED ALWAYS AS (CASE WHEN action = 'device.check' THEN detail ->> 'device' END) STORED;
CREATE INDEX audit_checked_device ON audit (org_id, checked_device, at DESC) WHERE checked_device IS NOT NULL;
