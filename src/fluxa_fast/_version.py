"""The one place that holds the version; setup.py stamps it into every compiled module."""

__version__ = "0.1.0"
