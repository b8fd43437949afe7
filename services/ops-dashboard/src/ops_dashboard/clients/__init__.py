"""Other services, as the dashboard calls them."""
