"""The speed of the compiled protocol under redis-py's own calls: `pipeline` and the reads, for clients that exist.

redis-py stays in charge of everything but bytes: of arguments, connections, time-outs, retries, callbacks and errors.
Whatever is not plain (`protocol.interface.NOT_PLAIN`) is done by redis-py itself.
"""
