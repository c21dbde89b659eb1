"""Checks the options of a registration, so that a wrong one is refused before the first connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..shared.validation import seconds
from .addresses import checked_address, host_and_port, redacted

__all__ = ["checked_database", "checked_options", "checked_sentinels"]

_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")
_TEXTS = ("username", "password", "client_name")
_FUNCTIONS = ("redis_connect_func", "address_remap")
# The address says where the server is, and the pool makes the connections.
_OF_ADDRESSES = ("host", "port", "unix_socket_path", "path", "url", "startup_nodes")
_OF_CLIENTS = ("connection_pool", "auto_close_connection_pool", "single_connection_client")


def checked_options(options: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return the options as redis-py takes them: durations are in seconds.

    Args:
        options: from the call of `register_redis`, or from a URL.
        within: the name of the option that holds these options, for errors.

    Raises:
        TypeError, ValueError: if an option has a wrong value. The error names the option, and shows no secret.
    """
    checked = dict(options)
    for name, value in options.items():
        if value is None:
            continue
        told = f"{within}[{name!r}]" if within else name
        if name in _TIMEOUTS:
            checked[name] = _timeout(told, value)
        elif name == "health_check_interval":
            checked[name] = seconds(told, value)
        elif name == "max_connections":
            if type(value) is not int or value < 1:
                raise ValueError(f"{told} is a number from 1 or None, not {_number_or_kind(value)}")
        elif name in _TEXTS:
            _check_text(told, name, value)
        elif name in _FUNCTIONS and not callable(value):
            raise TypeError(f"{told} is a function or None, not {type(value).__name__}")
        elif name == "credential_provider" and not callable(getattr(value, "get_credentials", None)):
            raise TypeError(f"{told} has a method get_credentials, and {type(value).__name__} has none")
        elif name == "protocol" and value not in (2, 3, "2", "3"):
            raise ValueError(f"{told} is 2 or 3, not {_number_or_kind(value)}")
        elif name == "sentinel_kwargs":
            if not isinstance(value, Mapping):
                raise TypeError(f"{told} is a dict of options, not {type(value).__name__}")
            checked[name] = checked_options(value, name)
        elif name in _OF_ADDRESSES and not within:
            raise TypeError(f"{told}= is not taken: the address says where the server is")
        elif name in _OF_CLIENTS and not within:
            raise TypeError(f"{told}= is not taken: give the client that has it as client=")
    return checked


def _timeout(name: str, value: Any) -> float:
    timeout = seconds(name, value)
    if not timeout:
        raise ValueError(f"{name} is longer than 0 seconds, or None to wait for ever")
    return timeout


def _check_text(told: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, bytes, int, float)):
        raise TypeError(f"{told} is a str, not {type(value).__name__}")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{told} has a lone surrogate, which UTF-8 can't hold") from None
        if name == "client_name" and not all("!" <= character <= "~" for character in value):
            raise ValueError(f"{told} is of printable ASCII characters without spaces")


def _number_or_kind(value: Any) -> str:
    """Return how an error shows a value: a number as it is, anything else by its type, as it may be a password."""
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1_000_000):
        return repr(value)
    return type(value).__name__


def checked_database(db: Any) -> int:
    """Return the number of a database.

    Raises:
        ValueError: if it is no whole number from 0.
    """
    if type(db) is not int or db < 0:
        raise ValueError(f"a database is a number from 0, not {_number_or_kind(db)}")
    return db


def checked_sentinels(sentinels: Any) -> list[tuple[str, int]]:
    """Return the host and the port of each Sentinel.

    Raises:
        ValueError: if an address can't be read.
    """
    if isinstance(sentinels, (str, bytes, Mapping)) or not isinstance(sentinels, Iterable):
        raise ValueError(f"sentinels= is a list of at least one 'host:port', not {type(sentinels).__name__}")
    found = [_sentinel(f"sentinels[{index}]", one) for index, one in enumerate(sentinels)]
    if not found:
        raise ValueError("sentinels= is a list of at least one 'host:port', and it is empty")
    return found


def _sentinel(told: str, one: Any) -> tuple[str, int]:
    try:
        if isinstance(one, str):
            checked_address(one)
            return host_and_port(one.strip(), 26379)
        if isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(one[0], str) and type(one[1]) is int:
            host, port = one
            return host_and_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from None
    raise ValueError(f"{told} is 'host:port' or a host and a port, not {redacted(one)}")
