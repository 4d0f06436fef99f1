"""A frame, where it comes from, how it is resized, which split it belongs to."""
