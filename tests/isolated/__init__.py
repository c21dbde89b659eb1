"""What needs a process of its own: memory that must not grow, forks, patched sockets, the end of the interpreter."""
