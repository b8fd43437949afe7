"""What is published about the events for people and programs without our code, generated from it."""
