-- migrate:up

-- The former release gives slots out under the tenant's row lock, and raises no version: a replica of this one that
-- looked just before would not notice, and the minute could hold a call too many while both run. It also names no
-- lane, which is how its slots are told from ours. Goes, with this default, when no such replica runs any more.
ALTER TABLE call_slots ALTER COLUMN lane SET DEFAULT 'former release';

CREATE FUNCTION note_slot_of_former_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenant_budgets SET version = version + 1 WHERE tenant_id = NEW.tenant_id;
    NEW.lane := 'invoices';
    RETURN NEW;
END
$$;
CREATE TRIGGER slot_of_former_release BEFORE INSERT ON call_slots
    FOR EACH ROW WHEN (NEW.lane = 'former release') EXECUTE FUNCTION note_slot_of_former_release();

-- What a process did not spend of its block comes back when it takes the next one: so blocks can be short-lived, and
-- nearly all of Xero's minute is of use. (Said as what was spent, so that saying it twice changes nothing.)
DROP FUNCTION take_app_permits;
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
CREATE FUNCTION take_app_permits(
    wanted integer, app_limit integer, counts_for interval, OUT permits integer, OUT left_over integer, OUT frees_in float8
) LANGUAGE plpgsql AS $$
DECLARE
    taken integer;
    first_back timestamptz;
BEGIN
    PERFORM FROM tenant_budgets WHERE tenant_id = '' FOR UPDATE;
    DELETE FROM app_permits WHERE counts_until <= clock_timestamp();
    SELECT coalesce(sum(block.permits), 0), min(block.counts_until) INTO taken, first_back FROM app_permits block;
    permits := greatest(0, least(wanted, app_limit - taken));
    left_over := greatest(0, app_limit - taken - permits);
    frees_in := greatest(0, coalesce(extract(epoch FROM first_back - clock_timestamp()), 0));
    IF permits > 0 THEN
        INSERT INTO app_permits (permits, counts_until)
        VALUES (take_app_permits.permits, clock_timestamp() + counts_for);
    END IF;
END
$$;
DROP TRIGGER slot_of_former_release ON call_slots;
DROP FUNCTION note_slot_of_former_release;
ALTER TABLE call_slots ALTER COLUMN lane SET DEFAULT 'invoices';
