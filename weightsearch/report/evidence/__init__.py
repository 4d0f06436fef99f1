"""Ranking and records: what the figures and pages are made of."""
