"""Benchmarks of the whole (``python -m benchmarks compare``, or ``fluxa-fast bench``) and of its parts (`micro`)."""
