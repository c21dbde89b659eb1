"""Consuming: one engine for streams with partitions and without."""
