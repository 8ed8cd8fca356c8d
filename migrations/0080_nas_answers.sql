-- What the NAS answered a command, as the edge tells it: a word and a number, where there was one text.
ALTER TABLE command
    ADD COLUMN answer text CHECK (answer IN ('ack', 'nak', 'timeout')),
    -- RFC 5176 3.5; an unsigned number of 32 bits.
    ADD COLUMN error_cause bigint CHECK (error_cause BETWEEN 0 AND 4294967295),
    -- The answers after which it went out again, and the last of its deliveries that was answered so: an answer that
    -- is told twice counts once.
    ADD COLUMN answers integer NOT NULL DEFAULT 0,
    ADD COLUMN answered_delivery integer NOT NULL DEFAULT 0;
