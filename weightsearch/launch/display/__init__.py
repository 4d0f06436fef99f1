"""What a launch shows while it works."""
