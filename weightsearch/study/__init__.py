"""What a study asks: its file, search space and plan, and the contract of an objective."""
