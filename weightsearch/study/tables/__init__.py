"""Tables of a study file that stand on their own."""
