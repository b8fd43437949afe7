"""Starts the whole system on one machine without Docker, and shows it working."""
