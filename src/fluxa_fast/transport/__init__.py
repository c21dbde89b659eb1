"""Moves bytes over redis-py's connections: the only code that waits."""
