-- Rules on trial that matched a decision: their ids, as a JSON array; NULL where there were none. Few decisions have
-- any, so that counting them reads little.
ALTER TABLE event ADD COLUMN trial_rules jsonb;
CREATE INDEX event_trial ON event (org_id, at DESC) WHERE trial_rules IS NOT NULL;

-- A partition that takes events out of the default one must have the table's generated columns, and their values are
-- made anew.
CREATE OR REPLACE FUNCTION ensure_event_partition(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    part    text := 'event_' || to_char(day, 'YYYYMMDD');
    from_at timestamptz := day::timestamp AT TIME ZONE 'UTC';
    to_at   timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    written text;
BEGIN
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_event_partition'));
    IF to_regclass('public.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM public.event_default WHERE at >= from_at AND at < to_at) THEN
        EXECUTE format('CREATE TABLE public.%I PARTITION OF public.event FOR VALUES FROM (%L) TO (%L)',
            part, from_at, to_at);
        RETURN;
    END IF;
    LOCK TABLE public.event IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.event INCLUDING DEFAULTS INCLUDING CONSTRAINTS
                    INCLUDING GENERATED)', part);
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO written FROM pg_attribute
    WHERE attrelid = 'public.event'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('WITH moved AS (DELETE FROM public.event_default WHERE at >= %L AND at < %L RETURNING *)
                    INSERT INTO public.%I (%s) SELECT %s FROM moved', from_at, to_at, part, written, written);
    EXECUTE format('ALTER TABLE public.event ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        part, from_at, to_at);
END
$$;
