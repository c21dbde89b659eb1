"""Chooses between the compiled and the pure implementation of the protocol. `interface` is the contract of both.

The environment variable FLUXA_FAST_IMPL names the implementation: ``c`` or ``python``. If it is not set, the compiled
one is used, or, if a compiled module is missing, the pure one, with a warning at the first `Registry.validate`. A
compiled module that is there and can't be loaded is an error.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from functools import cache
from typing import cast

from ..errors import ImplementationWarning
from .compiled_modules import PACKAGE, missing_modules
from .interface import Implementation

__all__ = ["Implementation", "default", "load", "missing_modules", "warn_if_slow"]

_PACKAGES = {"c": PACKAGE, "python": f"{__name__}.pure"}


@cache
def load(name: str) -> Implementation:
    """Return the implementation of that name, ``"c"`` or ``"python"``.

    Raises:
        ImportError: if there is no such implementation, or if it is not installed or can't be loaded.
    """
    if name not in _PACKAGES:
        raise ImportError(f"FLUXA_FAST_IMPL is 'c' or 'python', not {name!r}")
    if name == "c" and (missing := missing_modules()):
        raise ImportError(
            f"the compiled protocol was asked for (FLUXA_FAST_IMPL=c), and is not there: {', '.join(missing)} missing. "
            "Install a prebuilt wheel, or a C compiler and then fluxa_fast from source "
            "with FLUXA_FAST_REQUIRE_EXTENSIONS=1"
        )
    try:
        return cast(Implementation, importlib.import_module(_PACKAGES[name]))
    except ImportError as error:
        # Python's message or Cython's: "... does not support loading in subinterpreters", "Interpreter change ..."
        if "interpreter" in str(error).lower():
            raise ImportError(
                "the compiled protocol can't be loaded in a subinterpreter: set FLUXA_FAST_IMPL=python in the "
                "environment for the pure one, which can, or use threads or processes"
            ) from error
        raise


def _choose() -> Implementation:
    asked_for = os.environ.get("FLUXA_FAST_IMPL", "")
    if asked_for:
        return load(asked_for)
    return load("python" if missing_modules() else "c")


default: Implementation = _choose()
"""The implementation that the process uses."""


@cache
def warn_if_slow() -> None:
    """Warn, once, if the pure implementation is in use and FLUXA_FAST_IMPL does not ask for it."""
    unasked = not os.environ.get("FLUXA_FAST_IMPL")
    if default.name == "python" and unasked and sys.implementation.name == "cpython":
        warnings.warn(
            "fluxa_fast runs on its pure-Python protocol, which is several times slower: the compiled modules are "
            f"not there ({', '.join(missing_modules())}). Install a prebuilt wheel, or a C compiler and then "
            "fluxa_fast from source; or set FLUXA_FAST_IMPL=python if this is what you want",
            ImplementationWarning,
            stacklevel=4,
        )
