"""``fluxa-fast bench``: fluxa_fast beside its peers, and beside what the server can do.

Each contender runs in a process of its own (`worker`), on the same private server, with the same events, in turns. The
contenders are in `contenders`, what is measured is in `cases`, how in `compare`.
"""
