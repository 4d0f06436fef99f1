"""What lies under WEIGHTSEARCH_HOME."""
