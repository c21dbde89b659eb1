"""Python without its lock (GIL): hiredis switches it on, and redis-py imports hiredis where that is installed.

So redis-py is imported without it, unless the program imported one of them before, or told Python to leave the lock off
whatever comes (PYTHON_GIL=0). The compiled protocol has no use for hiredis.
"""

from __future__ import annotations

import sys

__all__ = ["may_import_hiredis"]


def may_import_hiredis() -> bool:
    """False where that would switch the lock on (hiredis 3.5: hiredis-py issue 229)."""
    without_lock = not getattr(sys, "_is_gil_enabled", lambda: True)()
    return not without_lock or sys.flags.gil == 0 or "hiredis" in sys.modules  # type: ignore[attr-defined,unused-ignore]


def _import_redis() -> None:
    """Import redis-py so that the lock stays as it is."""
    if may_import_hiredis() or "redis" in sys.modules:
        return
    sys.modules["hiredis"] = None  # type: ignore[assignment]  # an ImportError for every import of it
    try:
        import redis  # noqa: F401
    finally:
        del sys.modules["hiredis"]


_import_redis()
