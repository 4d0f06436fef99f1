"""Reaching PostgreSQL, and living with its absence."""
