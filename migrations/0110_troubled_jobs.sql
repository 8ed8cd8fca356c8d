-- A claim asks for jobs that went well and for jobs that failed apart. The planner rewrites `(fails > 0) = false` as
-- `fails <= 0`, to which an index of the expression is of no use: each claim then read every job that was due. A column
-- is compared as it stands.
ALTER TABLE sync_job ADD COLUMN troubled boolean NOT NULL GENERATED ALWAYS AS (fails > 0) STORED;
DROP INDEX sync_job_hot_due;
DROP INDEX sync_job_long_due;
CREATE INDEX sync_job_hot_due ON sync_job (troubled, next_due_at) WHERE kind IN ('delta', 'look', 'clock');
CREATE INDEX sync_job_long_due ON sync_job (troubled, next_due_at) WHERE kind IN ('sweep', 'enrich');
