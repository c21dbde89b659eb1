"""The parts, timed by pytest-benchmark: ``make micro``, or ``python -m pytest benchmarks/micro``."""
