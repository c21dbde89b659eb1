"""Drives flows over connections of redis.asyncio."""
