-- migrate:up

-- `version` changes with every slot given out: a decision taken on older facts is not carried out.
-- `day_limit` is the most calls that were left within the last days; `day_asked_at` when a call was let through a
-- stopped lane only to learn the figure anew.
-- (`reserved_until` is read by replicas of the release before this one only, and goes with the next.)
ALTER TABLE tenant_budgets
    ADD COLUMN version      bigint NOT NULL DEFAULT 0,
    ADD COLUMN day_limit    integer,
    ADD COLUMN day_limit_at timestamptz,
    ADD COLUMN day_asked_at timestamptz;

ALTER TABLE call_slots ADD COLUMN lane text NOT NULL DEFAULT 'invoices';

-- How many callers of a lane were told to wait and are expected back: what all replicas keep places free for.
CREATE TABLE lane_wishes (
    tenant_id text NOT NULL,
    lane      text NOT NULL,
    callers   integer NOT NULL,
    until     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, lane)
);

-- Calls by ten minutes, for the forecast.
CREATE TABLE call_counts (
    tenant_id text NOT NULL,
    since     timestamptz NOT NULL,
    calls     integer NOT NULL,
    PRIMARY KEY (tenant_id, since)
);

-- Blocks of the app's calls in a minute, each taken by one process.
CREATE TABLE app_permits (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    permits      integer NOT NULL,
    counts_until timestamptz NOT NULL
);

-- A function, because the sum must be read after the lock is held, and a caller of the gateway waits for it: so it is
-- one round trip. (A single statement would read what was there before it waited for the lock.)
-- What a process did not spend of its block comes back when it takes the next one: so blocks can be short-lived, and
-- nearly all of Xero's minute is of use. (Said as what was spent, so that saying it twice changes nothing.)
CREATE FUNCTION take_app_permits(
    wanted integer, app_limit integer, counts_for interval, former bigint, former_spent integer,
    OUT block bigint, OUT granted integer, OUT left_over integer, OUT frees_in float8
) LANGUAGE plpgsql AS $$
DECLARE
    taken integer;
    first_back timestamptz;
BEGIN
    PERFORM FROM tenant_budgets WHERE tenant_id = '' FOR UPDATE;
    UPDATE app_permits SET permits = least(permits, former_spent) WHERE id = former;
    DELETE FROM app_permits WHERE counts_until <= clock_timestamp();
    SELECT coalesce(sum(permits), 0), min(counts_until) INTO taken, first_back FROM app_permits WHERE permits > 0;
    granted := greatest(0, least(wanted, app_limit - taken));
    left_over := greatest(0, app_limit - taken - granted);
    frees_in := greatest(0, coalesce(extract(epoch FROM first_back - clock_timestamp()), 0));
    IF granted > 0 THEN
        INSERT INTO app_permits (permits, counts_until)
        VALUES (granted, clock_timestamp() + counts_for) RETURNING id INTO block;
    END IF;
END
$$;

-- migrate:down
DROP FUNCTION take_app_permits;
DROP TABLE app_permits, call_counts, lane_wishes;
ALTER TABLE call_slots DROP COLUMN lane;
ALTER TABLE tenant_budgets
    DROP COLUMN version, DROP COLUMN day_limit, DROP COLUMN day_limit_at, DROP COLUMN day_asked_at;
