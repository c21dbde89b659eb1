"""Errors that pass, and errors that last, as servers word them; within scripts too."""

from __future__ import annotations

import pytest
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from fluxa_fast.flows.retry import ServerNotReadyError, raise_for_error
from fluxa_fast.flows.scripting import Scripting, ScriptRefusedError
from fluxa_fast.flows.server_errors import forbids_scripts, unwrapped
from fluxa_fast.protocol.interface import ErrorReply
from fluxa_fast.scripts import ACKNOWLEDGE

# What Redis 6.2.14, Redis 7.0.15, Redis 8.6.3 and Valkey 9.1.2 were seen to answer.
CALL = "ERR Error running script (call to f_db2ae1c965c90bc630159eb32a083990b2da1019): @user_script:1: "
PASSING = [
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: db2ae1c9, on @user_script:1.",
    f"{CALL}@user_script: 1: -READONLY You can't write against a read only replica.",
    "@user_script: 1: -READONLY You can't write against a read only replica.",
    f"{CALL}@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
    "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
    f"{CALL}@user_script: 12: -NOREPLICAS Not enough good replicas to write.",
    "@user_script: 1: -MISCONF Redis is configured to save RDB snapshots",
    "LOADING Redis is loading the dataset in memory",
]
FORBIDDEN = [
    "NOPERM this user has no permissions to run the 'eval' command or its subcommand",
    f"{CALL}@user_script: 1: The user executing the script can't run this command or subcommand",
    "@user_script: 1: The user executing the script can't run this command or subcommand",
    "ERR The user executing the script can't run this command or subcommand script: db2ae1c9, on @user_script:1.",
    "ERR The user executing the script can't run this command or subcommand",
    "ERR ACL failure in script: User u has no permissions to run the 'xtrim' command script: db2ae1, on @user_script:1.",
    "ERR ACL failure in script: User u has no permissions to run the 'xtrim' command",
    "ERR unknown command 'EVALSHA', with args beginning with:",
]
LASTING = [
    f"{CALL}WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGTYPE Operation against a key holding the wrong kind of value script: db2ae1c9, on @user_script:1.",
    f"{CALL}user_script:1: attempt to index local 'x' (a nil value)",
    "ERR user_script:1: too many results to unpack script: d16ff798, on @user_script:1.",
    "FENCED another consumer owns the partition now",
]


@pytest.mark.parametrize("message", PASSING)
def test_an_error_that_passes_is_waited_for_also_within_a_script(message: str) -> None:
    reply = ErrorReply(message)
    assert not forbids_scripts(reply)
    scripting = Scripting()
    for read in (raise_for_error, lambda reply: scripting.answered(ACKNOWLEDGE, reply)):
        with pytest.raises(ServerNotReadyError) as caught:
            read(reply)
        assert not str(caught.value.error).startswith(("@", "ERR"))
    assert scripting.allowed
    if "READONLY" in message:
        assert isinstance(caught.value.error, ReadOnlyError)


@pytest.mark.parametrize("message", FORBIDDEN)
def test_scripts_are_done_without_for_a_while_where_they_are_forbidden(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = ErrorReply(message)
    scripting = Scripting()
    with pytest.raises(ScriptRefusedError):
        scripting.answered(ACKNOWLEDGE, reply)
    assert not scripting.allowed
    monkeypatch.setattr("fluxa_fast.flows.scripting._TRIED_AGAIN", 0.0)
    with pytest.raises(ScriptRefusedError):
        scripting.answered(ACKNOWLEDGE, reply)
    assert scripting.allowed  # after a while the right may have been given
    for needed in (Scripting(required=True), Scripting()):
        with pytest.raises(ResponseError) as caught:
            needed.answered(ACKNOWLEDGE, reply, needed=True)
        assert needed.allowed
    if "unknown command" not in message:
        assert isinstance(caught.value, NoPermissionError)


@pytest.mark.parametrize("message", LASTING)
def test_a_failure_of_a_script_is_raised(message: str) -> None:
    scripting = Scripting()
    with pytest.raises(ResponseError) as caught:
        scripting.answered(ACKNOWLEDGE, ErrorReply(message))
    assert scripting.allowed
    assert str(caught.value)


def test_what_is_no_script_s_error_stays_as_it_is() -> None:
    for message in ("ERR syntax error", "NOGROUP No such key", "", "ERR", "@user", "BUSYGROUP exists"):
        assert unwrapped(ErrorReply(message)).message == message
