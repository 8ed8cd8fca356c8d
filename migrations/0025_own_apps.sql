-- App registrations that organizations bring, and tenants of several clouds.

-- A tenant's id is unique within a cloud. That ids of two clouds never meet is habit, not promise, and each cloud is
-- run by somebody else: what one vouches for must not speak for a tenant of another.
ALTER TABLE account ADD COLUMN cloud text NOT NULL DEFAULT 'global';
ALTER TABLE account DROP CONSTRAINT account_tid_oid_key;
ALTER TABLE account ADD CONSTRAINT account_person UNIQUE (cloud, tid, oid);

ALTER TABLE org ADD COLUMN home_cloud text NOT NULL DEFAULT 'global';
DROP INDEX org_home_tid;
CREATE UNIQUE INDEX org_home_tid ON org (home_tid, home_cloud);

DROP INDEX link_tid;
CREATE UNIQUE INDEX link_tid ON link (org_id, tid, cloud);
CREATE INDEX link_app ON link (org_id, app_id) WHERE app_id IS NOT NULL;

ALTER TABLE app_credential
    -- The fewest days before its end of which was told: 30, 7, 1, or 0 at its end; NULL: none yet.
    ADD COLUMN told_days integer;
-- What is kept can still be used: what is retired keeps no secret.
ALTER TABLE app_credential ALTER COLUMN sealed DROP NOT NULL;
ALTER TABLE app_credential ADD CONSTRAINT app_credential_sealed CHECK ((sealed IS NULL) = (retired_at IS NOT NULL));
