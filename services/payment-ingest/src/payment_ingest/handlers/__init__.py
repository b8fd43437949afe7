"""The HTTP edge of payment-ingest."""
