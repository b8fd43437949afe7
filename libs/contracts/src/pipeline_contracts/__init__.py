"""The events that Pipeline's services and the Xero integration exchange over Kafka."""
