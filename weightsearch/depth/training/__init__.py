"""Batches, augmentation, the training loop."""
