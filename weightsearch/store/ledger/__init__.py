"""The ledger: which points are waiting, leased, paused, done or failed, and their results."""
