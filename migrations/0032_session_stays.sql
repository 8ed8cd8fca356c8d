-- Acct-Session-Id names one stay at a NAS, also where the session itself is named otherwise; a Change of Authorization
-- must give it back. The interval of interim updates tells for how long silence is no sign that a stop was lost.
ALTER TABLE session ADD COLUMN acct_session_id text,
                    ADD COLUMN interim_seconds integer CHECK (interim_seconds > 0);
