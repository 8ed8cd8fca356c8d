-- Which devices have a client on the network that is not trusted: asked at every look of a link.
CREATE INDEX session_distrusted ON session (org_id, link_id, device_id)
    WHERE ended_at IS NULL AND device_id IS NOT NULL AND verdict <> 'compliant';
