-- A client's page tells all that happened to it, in the order of time.
CREATE INDEX command_mac ON command (org_id, mac, created_at DESC, id DESC) WHERE mac IS NOT NULL;
-- Looks at a device that people asked for.
CREATE INDEX audit_device_check ON audit (org_id, (detail ->> 'device'), at DESC) WHERE action = 'device.check';
