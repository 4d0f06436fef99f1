"""Encoder, decoder, checkpoint."""
