"""Procedural rooms with exact depth."""
