"""Code that trains already, as an objective: Lightning, Hugging Face's Trainer, a plain loop."""
