"""Looks: what a study decides on the way, as pure functions of committed rows."""
