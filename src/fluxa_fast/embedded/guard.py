"""Runs a program. Kills it when standard input ends, because the parent process is gone then.

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
        while os.read(0, 4096):  # os.read, because Python's buffered reader holds a lock at the end of the interpreter
            pass
        program.kill()

    threading.Thread(target=watch, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
