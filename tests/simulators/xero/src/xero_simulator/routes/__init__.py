"""The resources of the Accounting API, one module each."""
