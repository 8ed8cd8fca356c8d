-- A claim asks for jobs that went well and for jobs that failed apart; each begins at its own end of the index, however
-- many of the others are due before.
DROP INDEX sync_job_hot_due;
DROP INDEX sync_job_long_due;
CREATE INDEX sync_job_hot_due ON sync_job ((fails > 0), next_due_at) WHERE kind IN ('delta', 'look', 'clock');
CREATE INDEX sync_job_long_due ON sync_job ((fails > 0), next_due_at) WHERE kind IN ('sweep', 'enrich');
