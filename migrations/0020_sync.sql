-- What the sync needs besides the first schema.

-- Text keys are lower-cased by the application (domain::resolver::keys_of), not by lower(): under the C locale
-- PostgreSQL lower-cases ASCII alone, and a device called MÜLLER-PC would never be found. link_id and id make the
-- order of candidates the index's own, so that a name borne by fifty thousand phones costs as much as a rare one.
ALTER TABLE device
    ADD COLUMN name_key   text,
    ADD COLUMN serial_key text;
UPDATE device SET name_key = lower(name), serial_key = lower(serial);
DROP INDEX device_name;
DROP INDEX device_serial;
CREATE INDEX device_name_key ON device (org_id, name_key, link_id, id) WHERE name_key IS NOT NULL;
CREATE INDEX device_serial_key ON device (org_id, serial_key, link_id, id) WHERE serial_key IS NOT NULL;
-- The end of a sweep asks for the numbers it did not see.
CREATE UNIQUE INDEX device_ordinal ON device (org_id, link_id, ordinal);
CREATE INDEX device_missing ON device (org_id, link_id, missing_since) WHERE missing_since IS NOT NULL;
CREATE INDEX device_grace ON device (org_id, link_id, grace_expires_at) WHERE compliance = 'inGracePeriod';

ALTER TABLE sync_job
    -- Numbers of the devices that the running sweep saw: a serialized Roaring bitmap.
    ADD COLUMN seen       bytea,
    -- Microsoft asked to wait until then; an admin's wish does not override it.
    ADD COLUMN not_before timestamptz,
    -- Up to when the passing of time alone (grace that ends, records that go stale) was acted upon.
    ADD COLUMN checked_at timestamptz;

ALTER TABLE command
    -- When the answer was given that this command wants replaced (session.decided_at): a session that still stands
    -- on the same answer has been told already.
    ADD COLUMN answered_at timestamptz;

ALTER TABLE outbox
    -- The effects were carried out once; they are repeated a moment later, for decisions that were on their way.
    ADD COLUMN settling boolean NOT NULL DEFAULT false;
CREATE INDEX outbox_due ON outbox (claimed_until NULLS FIRST, id);
