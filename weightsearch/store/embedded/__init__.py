"""A PostgreSQL of our own, for as long as somebody uses it."""
