"""Pictures in, depth maps out."""
