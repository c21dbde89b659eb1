"""What the producers for blocking use and for asyncio have in common: all of it that waits for nothing."""
