-- migrate:up

-- One row per tenant is the lock under which all replicas share its limits; the row '' is the app as a whole.
CREATE TABLE tenant_budgets (
    tenant_id       text PRIMARY KEY,
    day_remaining   integer,
    day_seen_at     timestamptz,
    blocked_until   timestamptz,
    blocked_problem text,
    reserved_until  timestamptz
);
INSERT INTO tenant_budgets (tenant_id) VALUES ('');

-- A call counts against Xero's limits from its start until 60 s after it finished, or after its lease ran out when
-- nobody said that it finished. The lease is what gives the slot of a killed replica back.
CREATE TABLE call_slots (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL,
    account_id  text,
    caller      text NOT NULL,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX call_slots_tenant ON call_slots (tenant_id);
CREATE INDEX call_slots_account_open ON call_slots (account_id) WHERE finished_at IS NULL;

-- migrate:down
DROP TABLE call_slots, tenant_budgets;
