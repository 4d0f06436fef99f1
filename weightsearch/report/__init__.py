"""Recorded trials as figures and as pages that open offline."""
