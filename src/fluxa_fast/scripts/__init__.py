"""The Lua scripts, loaded from the files in this folder. A server learns a script by its first EVAL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

__all__ = [
    "ACKNOWLEDGE",
    "ASK",
    "CLAIM",
    "FENCED_ACKNOWLEDGE",
    "FENCED_ACKNOWLEDGE_KEPT",
    "FENCED_CLAIM",
    "FENCED_TRIM_DELIVERED",
    "HAND_BACK",
    "LEAVE_GROUP",
    "MAKE_GROUPS",
    "OWN_PENDING",
    "REFRESH",
    "RELEASE_LEASE",
    "REMOVE_GROUP",
    "RENEW_LEASE",
    "ROSTER",
    "SEEK",
    "TAKE_LEASE",
    "TRIM_ACKNOWLEDGED",
    "TRIM_DELIVERED",
    "Script",
]

_COMMENTS = re.compile(r"^\s*(--.*\n)?| --.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the SHA-1 that EVALSHA names it by."""

    text: str
    sha: str


def _load(*names: str) -> Script:
    """Join files to a script, without the comments, because the first EVAL sends the whole text."""
    text = "".join(_COMMENTS.sub("", files(__name__).joinpath(name).read_text("utf-8")) for name in names)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ACKNOWLEDGE = _load("common.lua", "low_water.lua", "not_pending.lua", "acknowledge.lua")
ASK = _load("common.lua", "due.lua", "names.lua", "ask.lua")
CLAIM = _load("common.lua", "due.lua", "names.lua", "claim.lua")
HAND_BACK = _load("common.lua", "hand_back.lua")
LEAVE_GROUP = _load("common.lua", "leave_group.lua")
MAKE_GROUPS = _load("common.lua", "make_groups.lua")
REMOVE_GROUP = _load("common.lua", "remove_group.lua")
TRIM_ACKNOWLEDGED = _load("common.lua", "low_water.lua", "not_pending.lua", "trim_acknowledged.lua")
TRIM_DELIVERED = _load("common.lua", "low_water.lua", "trim_delivered.lua")
FENCED_ACKNOWLEDGE = _load("fence.lua", "common.lua", "low_water.lua", "not_pending.lua", "acknowledge.lua")
FENCED_ACKNOWLEDGE_KEPT = _load("fence.lua", "acknowledge_kept.lua")
FENCED_CLAIM = _load("fence.lua", "common.lua", "due.lua", "names.lua", "claim.lua")
FENCED_TRIM_DELIVERED = _load("fence.lua", "common.lua", "low_water.lua", "trim_delivered.lua")
OWN_PENDING = _load("fence.lua", "common.lua", "own_pending.lua")
REFRESH = _load("common.lua", "refresh.lua")
RENEW_LEASE = _load("fence.lua", "renew_lease.lua")
RELEASE_LEASE = _load("fence.lua", "release_lease.lua")
ROSTER = _load("roster.lua")
SEEK = _load("common.lua", "seek.lua")
TAKE_LEASE = _load("take_lease.lua")
