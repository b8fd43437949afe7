"""Turns Xero's webhooks into PaymentRecorded, each payment once."""
