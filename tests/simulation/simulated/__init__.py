"""Whole lives of the services in one process: virtual time, seeded order and faults, the real code on a real Postgres.

What is real: handlers, account workers, relays, sweeps, inbox and outbox, the gateway's client, every SQL statement, and
the Xero simulator. What is stood in for: Kafka (`kafka.py`), the network to Xero (`network.py`), and time (`clock.py`).
Each actor runs alone until its next seam: before it takes a database connection, on a request's way to Xero and on its
answer's way back, before a record is written to Kafka and before that is confirmed. A script (`script.py`), drawn from
the seed, says who goes on and what goes wrong. The same script gives the same trace.
"""
