"""The nightly sweep: canaries, verdict, its text and its page."""
