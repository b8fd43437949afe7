-- migrate:up

-- Raw deliveries by day, so that the old ones go by dropping a table. A running installation comes here without a pause:
-- these tables are new and empty, and the former release goes on with `deliveries` undisturbed. The service moves its
-- rows over in small transactions (`tend_deliveries`), read or not, also those that a replica of the former release
-- still adds. A later release drops the empty `deliveries` and `delivery_tenants`.

-- One row per genuine webhook body of a day (UTC): what Xero was answered 200 for is here, and is never written again.
-- The same body on another day is another row, which costs one more look at Xero.
CREATE TABLE raw_deliveries (
    body_hash bytea NOT NULL,
    day date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    body bytea NOT NULL,
    key_position smallint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (body_hash, day)
) PARTITION BY RANGE (day);

-- Which of them wait to be read; `again` if somebody asked for it.
CREATE TABLE unread_deliveries (
    received_at timestamptz NOT NULL,
    body_hash bytea NOT NULL,
    again boolean NOT NULL DEFAULT false,
    PRIMARY KEY (received_at, body_hash)
);

-- What became of those that were read, and of whom they speak: by these they are found again.
CREATE TABLE delivery_readings (
    received_at timestamptz NOT NULL,
    body_hash bytea NOT NULL,
    processed_at timestamptz,
    outcome text NOT NULL,
    events integer NOT NULL,
    not_understood integer NOT NULL,
    first_sequence bigint,
    last_sequence bigint,
    PRIMARY KEY (received_at, body_hash)
) PARTITION BY RANGE (received_at);

CREATE TABLE delivery_mentions (
    tenant_id text NOT NULL,
    received_at timestamptz NOT NULL,
    body_hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, received_at, body_hash)
) PARTITION BY RANGE (received_at);

-- The service's role may read and write rows, not make or drop tables: these two do it for the owner, and for nobody
-- whose login could not add or delete a day's rows itself. There is no
-- default partition: rows in one would forbid the partition that they belong to. Whoever finds none makes it.

-- The partitions of some days, where they lack. Attaching one, unlike creating it in place, lets webhooks go on.
CREATE FUNCTION make_delivery_partitions(first_day date, last_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    one date;
    parent text;
    part text;
    lower_bound text;
    upper_bound text;
BEGIN
    IF NOT has_table_privilege(session_user, 'raw_deliveries', 'INSERT') THEN
        RAISE insufficient_privilege;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('delivery_partitions', 0));
    FOR one IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY ARRAY['raw_deliveries', 'delivery_readings', 'delivery_mentions'] LOOP
            part := parent || to_char(one, '_YYYYMMDD');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            IF parent = 'raw_deliveries' THEN
                lower_bound := one;
                upper_bound := one + 1;
            ELSE
                lower_bound := one::timestamp AT TIME ZONE 'UTC';
                upper_bound := (one + 1)::timestamp AT TIME ZONE 'UTC';
            END IF;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format(
                'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                parent, part, lower_bound, upper_bound);
        END LOOP;
    END LOOP;
END $$;

-- Drop the oldest day before `before` of which everything has been read; returns it, NULL if there is none. The time
-- limit is shorter than what a webhook waits: on a busy moment this gives up and is called again.
CREATE FUNCTION drop_delivery_partition(before date) RETURNS date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    one date;
BEGIN
    IF NOT has_table_privilege(session_user, 'raw_deliveries', 'DELETE') THEN
        RAISE insufficient_privilege;
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('delivery_partitions', 0)) THEN
        RETURN NULL;
    END IF;
    FOR one IN
        SELECT to_date(right(part.relname, 8), 'YYYYMMDD') AS day
        FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
        WHERE inhparent = 'raw_deliveries'::regclass ORDER BY day
    LOOP
        EXIT WHEN one >= before;
        CONTINUE WHEN EXISTS (
            SELECT FROM unread_deliveries
            WHERE received_at >= one::timestamp AT TIME ZONE 'UTC'
              AND received_at < (one + 1)::timestamp AT TIME ZONE 'UTC');
        -- Who asks for a delivery to be read again has looked it up in the same transaction: after this nobody can.
        LOCK TABLE ONLY raw_deliveries, ONLY delivery_readings, ONLY delivery_mentions IN ACCESS EXCLUSIVE MODE;
        CONTINUE WHEN EXISTS (
            SELECT FROM unread_deliveries
            WHERE received_at >= one::timestamp AT TIME ZONE 'UTC'
              AND received_at < (one + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format(
            'DROP TABLE raw_deliveries%1$s, delivery_readings%1$s, delivery_mentions%1$s', to_char(one, '_YYYYMMDD'));
        RETURN one;
    END LOOP;
    RETURN NULL;
END $$;

SELECT make_delivery_partitions((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 1);

-- Who asked for what is kept longer than the delivery itself. The lock that this needs on `deliveries` is asked for in
-- short attempts: waiting for it, webhooks would wait behind it.
DO $$
BEGIN
    FOR attempt IN 1..100 LOOP
        BEGIN
            SET LOCAL lock_timeout = '200ms';
            ALTER TABLE delivery_replays DROP CONSTRAINT IF EXISTS delivery_replays_body_hash_fkey;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 100 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.2);
        END;
    END LOOP;
END $$;

-- migrate:down
INSERT INTO deliveries (
    body_hash, body, key_position, received_at, processed_at, outcome, events, not_understood, first_sequence, last_sequence)
SELECT raw.body_hash, raw.body, raw.key_position, raw.received_at, read.processed_at, read.outcome, read.events,
       read.not_understood, read.first_sequence, read.last_sequence
FROM raw_deliveries AS raw LEFT JOIN delivery_readings AS read USING (body_hash, received_at)
ON CONFLICT (body_hash) DO NOTHING;
INSERT INTO delivery_tenants SELECT * FROM delivery_mentions ON CONFLICT DO NOTHING;
DROP FUNCTION drop_delivery_partition;
DROP FUNCTION make_delivery_partitions;
DROP TABLE delivery_mentions;
DROP TABLE delivery_readings;
DROP TABLE unread_deliveries;
DROP TABLE raw_deliveries;
ALTER TABLE delivery_replays
    ADD CONSTRAINT delivery_replays_body_hash_fkey FOREIGN KEY (body_hash) REFERENCES deliveries (body_hash) NOT VALID;
