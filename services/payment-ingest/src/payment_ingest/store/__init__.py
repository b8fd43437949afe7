"""SQL of payment-ingest: one statement per function, the connection first."""
