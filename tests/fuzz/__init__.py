"""Hostile bytes: whatever a server or another client sends ends in a value or in an error that we promise, never in a crash.

    python -m tests.fuzz --inputs 100000       # made up at random, with a knowledge of RESP and msgpack
    python -m tests.fuzz.guided replies        # guided by the coverage of the C code (atheris, tools/fuzz)

Both are for the build with sanitizers, see CONTRIBUTING.md. `corpus/` has inputs that found something once.
"""
