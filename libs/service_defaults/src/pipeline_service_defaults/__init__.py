"""What every service needs around its own job: settings, database, auth, health, logs."""
