"""The Lua scripts, loaded from the files beside this one. A server learns each by its first EVAL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["ACKNOWLEDGE", "LEAVE_GROUP", "TRIM_DELIVERED", "Script"]

_COMMENTS = re.compile(r"^\s*(--.*\n)?| --.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the SHA-1 that EVALSHA knows it by."""

    text: str
    sha: str


def _load(*names: str) -> Script:
    """The script of these files, one behind the other. Without comments, because it travels with the first EVAL."""
    text = "".join(_COMMENTS.sub("", files(__name__).joinpath(name).read_text("utf-8")) for name in names)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ACKNOWLEDGE = _load("common.lua", "acknowledge.lua")
LEAVE_GROUP = _load("common.lua", "leave_group.lua")
TRIM_DELIVERED = _load("common.lua", "trim_delivered.lua")
