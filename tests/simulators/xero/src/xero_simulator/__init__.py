"""A stand-in for Xero's servers, built from what Xero does."""
