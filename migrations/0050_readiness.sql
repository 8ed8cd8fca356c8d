-- A running process checks that the schema is the one it was built for: let it read which migrations were applied.
-- The table is there whenever gatehouse migrate runs this file.
DO $$
BEGIN
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO gatehouse_app;
    END IF;
END
$$;
