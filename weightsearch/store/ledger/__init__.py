"""Which points are waiting, leased, paused, done or failed, and what came of them."""
