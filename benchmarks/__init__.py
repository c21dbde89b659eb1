"""Benchmarks of the whole (``python -m benchmarks compare``, the same as ``fluxa-fast bench``) and of parts (`micro`)."""
