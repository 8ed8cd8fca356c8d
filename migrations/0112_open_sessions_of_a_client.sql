-- Whether a client is on the network, and since when: asked for every client of a page. Without it, each question would
-- read all the sessions that its client ever had.
CREATE INDEX session_mac_open ON session (org_id, mac, started_at DESC, id DESC) WHERE ended_at IS NULL;
