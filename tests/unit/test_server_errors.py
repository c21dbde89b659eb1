"""What follows from an error of the server, as servers word it, within scripts too; and that one table says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from redis.exceptions import (
    AuthorizationError,
    ConnectionError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

import fluxa_fast
from fluxa_fast.flows.replies import error_of, retold
from fluxa_fast.flows.retry import ServerNotReadyError, raise_for_error
from fluxa_fast.flows.scripting import Scripting, ScriptRefusedError
from fluxa_fast.flows.server_errors import (
    RULES,
    Rule,
    Verdict,
    codes_with,
    forbids_scripts,
    rule_of,
    rule_of_code,
    unwrapped,
    verdict_of,
)
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


# ---- the table ------------------------------------------------------------------------------------------

_OF_SLOTS = {"ASK", "CLUSTERDOWN", "MOVED", "TRYAGAIN"}
_WHILE_NODES_CHANGE = {*_OF_SLOTS, "LOADING", "MASTERDOWN", "READONLY"}
_PASS = {*_WHILE_NODES_CHANGE, "BUSY", "MISCONF", "NOREPLICAS", "OOM", "UNBLOCKED"}


def _message(code: str) -> str:
    return f"{code} 7 127.0.0.1:7001" if code in ("ASK", "MOVED") else f"{code} told at length"


def test_what_follows_from_each_error() -> None:
    assert {rule.code for rule in RULES if rule.passes} == _PASS
    assert {rule.code for rule in RULES if rule.resent} == _WHILE_NODES_CHANGE
    assert {rule.code for rule in RULES if rule.about_slot} == _OF_SLOTS
    assert {rule.code for rule in RULES if rule.demoted} == {"READONLY"}
    assert {rule.code for rule in RULES if rule.not_allowed} == {"ERR", "NOPERM"}
    assert codes_with(Verdict.REDIRECT) == {"ASK", "MOVED"}
    assert codes_with(Verdict.REJOIN) == {"NOGROUP", "UNBLOCKED"}
    assert codes_with(Verdict.FINAL) == {"NOAUTH", "WRONGPASS"}
    assert codes_with(Verdict.WAIT) == _PASS - {"ASK", "MOVED", "UNBLOCKED"}
    assert len({rule.code for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=[rule.code for rule in RULES])
def test_a_reply_and_its_exception_follow_one_rule(rule: Rule) -> None:
    reply = ErrorReply(_message(rule.code))
    assert rule_of(reply) is rule
    error = error_of(reply)
    assert rule.error is None or isinstance(error, rule.error)
    for one in (error, retold(error, behind=", so what")):
        assert verdict_of(one) is rule.verdict
        if rule.code not in ("NOAUTH", "WRONGPASS", "ERR"):  # two share a class; redis-py leaves out the third
            assert rule_of(one) is rule


@pytest.mark.parametrize(
    "failure",
    [ErrorReply("XYZ of a module"), ErrorReply(""), ConnectionError("gone"), TimeoutError("late"), ResponseError("")],
    ids=repr,
)
def test_what_is_not_in_the_table_is_told_to_the_caller(failure: ErrorReply | Exception) -> None:
    assert verdict_of(failure) is Verdict.REFUSE
    assert not rule_of(failure).passes


def test_a_revoked_certificate_is_not_waited_for() -> None:
    assert verdict_of(AuthorizationError("revoked")) is Verdict.FINAL


@pytest.mark.parametrize("message", ["MOVED", "ASK x"])
def test_a_redirection_to_nowhere_is_not_followed(message: str) -> None:
    assert rule_of_code(message.split()[0]).resent
    assert not rule_of(error_of(ErrorReply(message))).resent


# What one command answers means something for that command, apart from what it means in general.
_ONE_COMMAND_S = {"NOGROUP", "NOPERM"}
_CLASSES = {rule.error.__name__ for rule in RULES if rule.error is not None}
_ELSEWHERE = {
    "AskError",  # what it knows of the other node is read, and it is raised
    "MovedError",
    "ClusterDownError",  # is raised where no node has a slot
    "TryAgainError",  # in `error_of`
}


def test_no_other_table_says_what_follows_from_an_error() -> None:
    """A server error that is waited for is added in one file."""
    package = Path(fluxa_fast.__file__).parent
    codes = {rule.code for rule in RULES} - _ONE_COMMAND_S
    found = set()
    for folder in ("flows", "transport", "shared", "asyncio", "."):
        for file in package.joinpath(folder).glob("*.py" if folder == "." else "**/*.py"):
            if file.name == "server_errors.py":
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    name = node.value.strip() if len(node.value.split()) == 1 else ""
                    found |= {(file.name, name)} if name in codes else set()
                elif isinstance(node, ast.Name) and node.id in _CLASSES - _ELSEWHERE:
                    found.add((file.name, node.id))
    assert not found
