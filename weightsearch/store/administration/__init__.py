"""Migration, roles, backup."""
