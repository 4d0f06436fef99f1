"""A worker process: claims a point, runs the objective on it, records the result."""
