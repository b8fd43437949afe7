"""Owns the OAuth tokens, the Xero card and the gateway to Xero's API."""
