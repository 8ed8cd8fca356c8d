-- The pace at which the edge is told of commands, as planning had it: commands in a second. What was planned while the
-- edge was away is spread by it when the edge is back. NULL: at once.
ALTER TABLE command ADD COLUMN per_second integer CHECK (per_second > 0);
