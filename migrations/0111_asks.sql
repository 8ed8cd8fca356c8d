-- What an edge asked and did not hear the answer of. It decided by itself, so the client got that answer, and not the
-- one that was made here, whichever of the two is told first.

-- The edge's name of the ask that the session's decision answered.
ALTER TABLE session ADD COLUMN ask_id uuid;
-- The last asks whose answer nobody heard.
ALTER TABLE session ADD COLUMN unheard uuid[] NOT NULL DEFAULT '{}';
