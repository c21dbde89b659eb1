"""Every decision of the broker, once, without I/O.

A flow is a generator. It yields a step of `steps` (send these bytes, give me this reply, hand these events over...),
is resumed with the step's outcome, and returns its result. The sync and the asyncio transport drive the same flows.
"""
