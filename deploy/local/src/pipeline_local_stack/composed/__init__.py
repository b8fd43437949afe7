"""What `deploy/compose.yaml` starts beside the services, and the secrets that it takes (docs/operate/compose.md)."""
