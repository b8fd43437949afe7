"""Rules about signatures, deliveries and payments: values in, values out, no I/O."""
