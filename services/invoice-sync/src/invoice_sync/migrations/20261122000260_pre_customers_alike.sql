-- migrate:up

-- Customers of one name or email, so that none is linked by what another one has as well. Digests: a name may be longer
-- than an index can hold.
CREATE INDEX customers_by_name ON customers (account_id, md5(lower(btrim(regexp_replace(name, '\s+', ' ', 'g')))));
CREATE INDEX customers_by_email ON customers (account_id, md5(lower(btrim(email)))) WHERE email IS NOT NULL;

-- migrate:down

DROP INDEX customers_by_email;
DROP INDEX customers_by_name;
