-- migrate:up

-- Which tenants a delivery speaks of, written when it is read: by these it is found again.
CREATE TABLE delivery_tenants (
    tenant_id text NOT NULL,
    received_at timestamptz NOT NULL,
    body_hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, received_at, body_hash)
);

-- migrate:down
DROP TABLE delivery_tenants;
