ALTER TABLE sync_job
    -- Woken while a worker held it: the earliest wish, which giving the lease back does not lose.
    ADD COLUMN wake_at     timestamptz,
    -- When it last went through.
    ADD COLUMN finished_at timestamptz,
    -- What keeps it from its work, for people; NULL: nothing does. It says nothing about the link.
    ADD COLUMN note        text;

-- The two classes of work are claimed apart, so that a backlog of the one costs the other nothing.
DROP INDEX sync_job_due;
CREATE INDEX sync_job_hot_due ON sync_job (next_due_at) WHERE kind IN ('delta', 'look', 'clock');
CREATE INDEX sync_job_long_due ON sync_job (next_due_at) WHERE kind IN ('sweep', 'enrich');

ALTER TABLE device
    -- Targeted looks in a row that showed nothing new: each makes the next one later.
    ADD COLUMN idle_looks integer NOT NULL DEFAULT 0;

ALTER TABLE look_wish
    -- When Microsoft was last asked for it.
    ADD COLUMN tried_at timestamptz;
