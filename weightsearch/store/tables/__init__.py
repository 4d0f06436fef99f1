"""The tables and the pieces that statements on them share."""
