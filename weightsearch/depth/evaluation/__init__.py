"""Metrics, protocols, scores."""
