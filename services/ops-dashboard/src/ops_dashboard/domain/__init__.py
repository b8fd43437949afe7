"""Decisions of the dashboard: values in, values out."""
