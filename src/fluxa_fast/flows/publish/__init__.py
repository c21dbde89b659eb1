"""Publishing: what is sent, and what became of every event."""
