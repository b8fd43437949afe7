"""`pipeline-xero`: the operator's command line, over the services' public HTTP APIs and Kafka alone."""
