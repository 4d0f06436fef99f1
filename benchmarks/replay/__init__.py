"""What `cost.py` replays: recorded tables, and searchers that pay for what they see."""
