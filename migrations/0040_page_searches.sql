-- Indexes for the dashboard's searches, so that pages hold at ten million rows.

-- Events of a user.
CREATE INDEX event_user ON event (org_id, lower(user_name), at DESC) WHERE user_name IS NOT NULL;
-- Denials by reason: the rare ones must not take a walk over all the others.
CREATE INDEX event_reason ON event (org_id, reason, at DESC) WHERE permit = false;

-- Active clients, the latest first.
CREATE INDEX session_active_started ON session (org_id, started_at DESC, id DESC) WHERE ended_at IS NULL;
-- The latest session of a MAC address, and a client by its name.
CREATE INDEX session_mac_started ON session (org_id, mac, started_at DESC, id DESC);
DROP INDEX session_mac;
CREATE INDEX session_user_name ON session (org_id, lower(user_name), started_at DESC) WHERE user_name IS NOT NULL;
CREATE INDEX session_device_name ON session (org_id, lower(device_name), started_at DESC)
    WHERE device_name IS NOT NULL;
