"""Depth networks: built, trained, saved, evaluated. Knows nothing of studies in a database."""
