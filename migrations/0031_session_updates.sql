-- Every decision and every accounting message updates a session, mostly in columns that no index holds: leave room in
-- the page, so that such an update touches no index.
ALTER TABLE session SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
