"""Outbox, inbox, relay, per-account worker and dead letters: reliable Kafka on Postgres."""
