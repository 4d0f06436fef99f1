"""What is asked: the study file, its search space and plan, the contract of an objective."""
