"""Paired tests and drift: what can be told from numbers that scatter."""
