"""Paired tests and drift: what noisy numbers can and cannot show."""
