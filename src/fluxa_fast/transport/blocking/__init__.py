"""Drives flows over blocking sockets."""
