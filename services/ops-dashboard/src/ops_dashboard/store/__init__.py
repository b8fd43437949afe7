"""The dashboard's tables: one statement per function."""
