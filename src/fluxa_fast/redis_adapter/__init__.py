"""All that knows the internals of redis-py: connections, clusters, Sentinels, parsers, encoders and errors."""
