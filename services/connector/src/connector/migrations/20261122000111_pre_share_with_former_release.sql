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

-- migrate:down
DROP TRIGGER slot_of_former_release ON call_slots;
DROP FUNCTION note_slot_of_former_release;
ALTER TABLE call_slots ALTER COLUMN lane SET DEFAULT 'invoices';
