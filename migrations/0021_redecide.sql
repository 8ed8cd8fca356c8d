ALTER TABLE sync_job
    -- When the end of a sweep last had every active session decided again.
    ADD COLUMN redecided_at timestamptz;
