"""What follows from each error of a server: the one table, and how to ask it.

A command of a script may meet the error. Redis 6.2 wraps it then: ``ERR Error running script (call to f_...):
@user_script:7: @user_script: 7: -READONLY You can't write...``. Newer servers keep the error's own code in front. All
questions here look inside the wrapping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)

if TYPE_CHECKING:  # at run time this module imports nothing of the package, so that `errors` can ask it
    from ..protocol.interface import ErrorReply

__all__ = [
    "RULES",
    "Rule",
    "Verdict",
    "codes_with",
    "forbids_scripts",
    "rule_of",
    "rule_of_code",
    "unwrapped",
    "verdict_of",
]


class Verdict(Enum):
    """What a flow does after an error of the server."""

    WAIT = "try again after a pause: the server will serve again, or another server takes its place"
    REDIRECT = "ask another node: this one does not have the key"
    REJOIN = "make the group again: it is gone, or the stream is; if the error comes back and passes, wait"
    REFUSE = "tell the caller: the server does not do what the command says"
    FINAL = "tell the caller: no command of this user, over any connection, would fare better"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        code: the first word of the error.
        verdict: what a flow does after the error. For a publisher of a single server, WAIT and REDIRECT are for its
            caller to carry out: the events stay in the flusher, and the caller knows how long they may wait. A consumer
            waits for `Recovery.deadline` seconds.
        error: redis-py's class of the error; None if redis-py has none.
        passes_when: what ends the state that the error tells of, in words for the users of a flusher; empty if nothing
            but a change of the command or of the configuration does.
        resent: whether a publisher and the statistics of a cluster send the command again, for a few seconds. They do
            so while slots move and during a failover, which take no longer. Full memory, a full disk, missing replicas
            and slow scripts may last: those errors reach the caller at once.
        about_slot: whether the error is about the slot of the key, on a node that is well otherwise.
        demoted: whether the server is a replica now, so that the connection must be dropped to find the master.
        not_allowed: whether the user may not run the command, or the server (or a proxy) does not know it.
    """

    code: str
    verdict: Verdict
    error: type[Exception] | None = None
    passes_when: str = ""
    resent: bool = False
    about_slot: bool = False
    demoted: bool = False
    not_allowed: bool = False

    @property
    def passes(self) -> bool:
        """Whether the same command may succeed later."""
        return bool(self.passes_when)


RULES: tuple[Rule, ...] = (
    Rule("ASK", Verdict.REDIRECT, AskError, "the slot has moved", resent=True, about_slot=True),
    Rule("BUSY", Verdict.WAIT, None, "the slow script on the server has ended"),
    Rule(
        "CLUSTERDOWN",
        Verdict.WAIT,
        ClusterDownError,
        "the cluster serves all its slots again",
        resent=True,
        about_slot=True,
    ),
    Rule("ERR", Verdict.REFUSE, None, not_allowed=True),
    Rule("LOADING", Verdict.WAIT, BusyLoadingError, "the server has loaded its data", resent=True),
    Rule("MASTERDOWN", Verdict.WAIT, MasterDownError, "the replica has its master again", resent=True),
    Rule("MISCONF", Verdict.WAIT, None, "the server can write to its disk again"),
    Rule("MOVED", Verdict.REDIRECT, MovedError, "the slot has moved", resent=True, about_slot=True),
    Rule("NOAUTH", Verdict.FINAL, AuthenticationError),
    Rule("NOGROUP", Verdict.REJOIN),
    Rule("NOPERM", Verdict.REFUSE, NoPermissionError, not_allowed=True),
    Rule("NOREPLICAS", Verdict.WAIT, None, "enough replicas are connected again"),
    Rule("OOM", Verdict.WAIT, OutOfMemoryError, "the server has memory again"),
    Rule(
        "READONLY",
        Verdict.WAIT,
        ReadOnlyError,
        "there is a master again (this server is a replica)",
        resent=True,
        demoted=True,
    ),
    Rule("TRYAGAIN", Verdict.WAIT, TryAgainError, "the slot has moved", resent=True, about_slot=True),
    # The server has ended a blocking read: the stream was deleted (older servers), the server became a replica, or an
    # operator says so (CLIENT UNBLOCK).
    Rule("UNBLOCKED", Verdict.REJOIN, None, "the server lets clients wait for events again"),
    Rule("WRONGPASS", Verdict.FINAL, AuthenticationError),
)

_UNKNOWN = Rule("", Verdict.REFUSE)  # for the other codes of servers and scripts
_REVOKED = Rule("", Verdict.FINAL, AuthorizationError)  # of the server's certificate; redis-py raises it, no server

_BY_CODE = {rule.code: rule for rule in RULES}
_BY_EXCEPTION = {rule.error: rule for rule in (*RULES, _REVOKED) if rule.error is not None}


def rule_of_code(code: str) -> Rule:
    """The rule for errors that begin with that word."""
    return _BY_CODE.get(code, _UNKNOWN)


def rule_of(failure: ErrorReply | Exception) -> Rule:
    """The rule for an error of the server, as a reply or as redis-py's exception.

    redis-py leaves the code out of the text of those errors that it has a class for, and of those with the code ERR. As
    an exception, an error with that code has no rule of its own.
    """
    if not isinstance(failure, Exception):
        return rule_of_code(unwrapped(failure).code)
    for kind in type(failure).__mro__:
        if (rule := _BY_EXCEPTION.get(kind)) is not None:
            return rule
    rule = rule_of_code(str(failure).partition(" ")[0])
    return rule if rule.error is None else _UNKNOWN


def verdict_of(failure: ErrorReply | Exception) -> Verdict:
    """What a flow does after an error of the server."""
    return rule_of(failure).verdict


def codes_with(verdict: Verdict) -> frozenset[str]:
    """The codes that have that verdict."""
    return frozenset(rule.code for rule in RULES if rule.verdict is verdict)


# ---- errors within scripts ------------------------------------------------------------------------------

_WRAPPING = re.compile(r"(?:ERR Error running script \(call to \w+\): )?(?:@user_script: ?\d+: )+-?")
_CODE = re.compile(r"[A-Z]+ ")
_NO_RIGHTS = ("ACL failure in script", "The user executing the script can't")


def unwrapped(reply: ErrorReply) -> ErrorReply:
    """The error that a command met, without what the server has wrapped around it because that was within a script."""
    message = reply.message
    if not message.startswith(("ERR ", "@user_script:")):
        return reply
    found = _WRAPPING.match(message)
    inner = message[found.end() :] if found else message.removeprefix("ERR ")
    if inner.startswith(_NO_RIGHTS):
        return reply._replace(message=f"NOPERM {inner}")
    return reply._replace(message=inner) if found and _CODE.match(inner) else reply


def forbids_scripts(reply: ErrorReply) -> bool:
    """Whether the user may run no script, or none with the commands that this script has.

    A failure of the script itself does not count.
    """
    error = unwrapped(reply)
    return error.code == "NOPERM" or (error.code == "ERR" and "user_script:" not in error.message)
