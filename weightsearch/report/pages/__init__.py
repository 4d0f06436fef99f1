"""Figures and text as one HTML file."""
