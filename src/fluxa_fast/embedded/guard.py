"""Runs a program until it ends, or until standard input does: our parent is gone then, and the program goes too.

Run as a script: ``python -I guard.py program argument...``. Prints the program's process ID.
"""

import os
import subprocess
import sys
import threading


def main() -> int:
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    print(program.pid, flush=True)

    def watch() -> None:
        while os.read(0, 4096):  # below Python's buffers, whose locks outlive the interpreter
            pass
        program.kill()

    threading.Thread(target=watch, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
