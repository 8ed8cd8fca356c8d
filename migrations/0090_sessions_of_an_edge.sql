-- A NAS that restarts ends what it had going on: the open sessions of its edge, in the order of their ids.
CREATE INDEX session_edge_open ON session (org_id, edge_id, id) WHERE ended_at IS NULL;
