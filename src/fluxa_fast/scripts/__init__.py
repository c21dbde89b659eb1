"""The Lua scripts, loaded from the files beside this one. A server learns each by its first EVAL."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["LEAVE_GROUP", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the SHA-1 that EVALSHA knows it by."""

    text: str
    sha: str


def _load(name: str) -> Script:
    text = files(__name__).joinpath(name).read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


LEAVE_GROUP = _load("leave_group.lua")
