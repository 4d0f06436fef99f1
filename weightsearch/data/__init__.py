"""Data sets of RGB-D frames: readers, packs, splits. Imports neither torch nor a database."""
