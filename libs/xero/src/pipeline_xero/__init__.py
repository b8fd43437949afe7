"""Xero's wire format, its errors, and the client of the connector's gateway."""
