-- migrate:up

-- Until when this view has stored everything there was: a reader that stands still is told from one that keeps up,
-- however few records wait. Null for rows of before: the next measurement begins the count.
ALTER TABLE topic_ends ADD COLUMN complete_until timestamptz;

-- migrate:down
ALTER TABLE topic_ends DROP COLUMN complete_until;
