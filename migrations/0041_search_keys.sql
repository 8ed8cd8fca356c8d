-- Names in lower case, to search by. An index on lower(name) does not serve under row level security: lower() is not
-- leakproof, so PostgreSQL would not use the index before it has looked at each row's organization.

ALTER TABLE event ADD COLUMN user_key text GENERATED ALWAYS AS (lower(user_name)) STORED;
DROP INDEX event_user;
CREATE INDEX event_user ON event (org_id, user_key, at DESC) WHERE user_key IS NOT NULL;

ALTER TABLE session ADD COLUMN user_key text GENERATED ALWAYS AS (lower(user_name)) STORED;
ALTER TABLE session ADD COLUMN device_key text GENERATED ALWAYS AS (lower(device_name)) STORED;
DROP INDEX session_user_name, session_device_name;
CREATE INDEX session_user_name ON session (org_id, user_key, started_at DESC) WHERE user_key IS NOT NULL;
CREATE INDEX session_device_name ON session (org_id, device_key, started_at DESC) WHERE device_key IS NOT NULL;
