"""All that knows redis-py: its connections, clusters, Sentinels, parsers and errors."""
