"""Reads addresses of servers, and shows them without their secrets."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import urlsplit

__all__ = ["checked_address", "checked_url", "host_and_port", "redacted"]

_SCHEME = re.compile(r"((rediss?|valkeys?|unix)(\+cluster)?|https?)?")  # any other may be a part of a password
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]*)(?P<colon>:?)(?P<port>[^:/]*)")
_NO_HOST = re.compile(r"[\s\[\]@/?#\\,:]")
_DATABASE = re.compile(r"/?|/[0-9]{1,9}/?")
_LONGEST_PORT = 5  # digits; a longer number may be a password
_ENCODE = "percent-encode the special characters of a password: %40 for '@', %2F for '/', %3F for '?', %23 for '#'"
_SCHEMES = ("redis", "rediss", "unix")
_CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster", "redis", "rediss")


# ---- showing --------------------------------------------------------------------------------------------


def redacted(address: object) -> str:
    """Return the address for an error or a log, without its user, password and options, or what may be part of one."""
    if not isinstance(address, str):
        return type(address).__name__
    scheme, separator, rest = address.rpartition("://") if address.count("://") == 1 else ("", "", address)
    if not _SCHEME.fullmatch(scheme):
        return "'***'"
    plain = re.split(r"[?#]", rest, maxsplit=1)[0]
    options = "" if plain == rest else "?..."
    if "@" in rest[len(plain) :]:  # it belongs to the options, or all of the address is a password
        return repr(f"{scheme}{separator}***")
    _, at, place = plain.rpartition("@")
    hidden = "***@" if at else ""
    return repr(f"{scheme}{separator}{hidden}{_shown_place(place)}{options}")


def _shown_place(place: str) -> str:
    """Hosts, ports and a database, or the path of a socket."""
    if place.startswith("/") or (place.endswith(".sock") and ":" not in place):
        return place
    hosts, slash, path = place.partition("/")
    database = slash + (path if re.fullmatch(r"[0-9]{0,5}", path) else "***")
    return ",".join(map(_shown_host, hosts.split(","))) + database


def _shown_host(place: str) -> str:
    found = _PLACE.fullmatch(place)
    if found is None:
        return "***"
    port = found["port"]
    if len(port) > _LONGEST_PORT or not (port.isascii() and (port.isdigit() or not port)):
        port = "***"
    return found["host"] + found["colon"] + port


# ---- reading --------------------------------------------------------------------------------------------


def host_and_port(place: str, default_port: int = 6379, *, default_host: str = "") -> tuple[str, int]:
    """Return the host and the port of ``host``, ``host:port`` or ``[IPv6 address]:port``.

    Raises:
        ValueError: if the text has another form. The error shows no part of a password.
    """
    if place.startswith("["):
        host, bracket, behind = place[1:].partition("]")
        colon, port = behind[:1], behind[1:]
        if not bracket or colon not in ("", ":") or not _is_ipv6(host):
            raise ValueError(f"{redacted(place)} is no IPv6 address in brackets, such as '[::1]:6379'")
    elif _is_ipv6(place):
        raise ValueError(f"an IPv6 address is written in brackets: '[{place}]:{default_port}'")
    else:
        host, colon, port = place.partition(":")
        host = host or default_host
        if not _is_host(host) or ":" in port:
            raise ValueError(f"{redacted(place)} is no 'host:port', socket path or URL")
    if not colon:
        return host, default_port
    if not (port.isascii() and port.isdigit() and len(port) <= _LONGEST_PORT and 0 < int(port) < 65536):
        raise ValueError(f"the port of {redacted(place)} is no number from 1 to 65535")
    return host, int(port)


def checked_address(address: str) -> None:
    """Check that an address without a scheme has no part that only a URL may have.

    Raises:
        ValueError: if it has one.
    """
    if re.search(r"[@/?#]", address):
        raise ValueError(
            f"{redacted(address)} is no 'host:port': with a user, a password, a database or options it is a URL, "
            "such as redis://user:password@host:6379/0"
        )


def checked_url(url: str, *, cluster: bool = False) -> str:
    """Check a URL, and return its scheme.

    redis-py reads a part of the password as the host if a special character in it is not percent-encoded. It reads a
    path that is not a number as database 0. Both are refused here.

    Args:
        url: of a server, or of a cluster.
        cluster: whether it is the URL of a cluster. Such a URL may have several hosts, with commas between them.

    Raises:
        ValueError: if the URL has a mistake. The error shows no part of a password.
    """
    scheme, _, rest = url.partition("://")
    if not cluster and scheme not in _SCHEMES:
        raise ValueError(f"a URL begins with redis://, rediss:// or unix://, which {redacted(url)} does not")
    if cluster and scheme not in _CLUSTER_SCHEMES:
        raise ValueError(
            f"the URL of a cluster begins with redis+cluster:// or rediss+cluster://, which {redacted(url)} does not"
        )
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    user, _, hosts = authority.rpartition("@")
    if "@" in behind or re.search(r"[\[\]\\\t\r\n]", user):
        raise ValueError(f"the URL {redacted(url)} can't be read; {_ENCODE}")
    if "#" in behind or re.search(r"[\t\r\n]", behind.rstrip()):
        raise ValueError(f"the URL {redacted(url)} has a '#' or a line break in it; {_ENCODE}")
    path = behind.partition("?")[0]
    if scheme == "unix":
        if hosts or len(path) < 2:
            raise ValueError("the URL of a unix socket has three slashes in front of its path: unix:///run/redis.sock")
        return scheme
    if "," in hosts and not cluster:
        raise ValueError(f"{redacted(url)} has several hosts; if they are a cluster, begin with redis+cluster://")
    for one in hosts.split(","):
        host_and_port(one.strip(), default_host="localhost" if hosts in ("", one) else "")
    if not _DATABASE.fullmatch(path.strip()):
        raise ValueError(f"the path of the URL {redacted(url)} is no number of a database, such as /0")
    try:
        urlsplit(url)
    except ValueError:  # its text quotes what may be a password
        raise ValueError(f"the URL {redacted(url)} can't be read; {_ENCODE}") from None
    return scheme


def _is_host(host: str) -> bool:
    try:
        return bool(host) and not _NO_HOST.search(host) and bool(host.encode("idna"))
    except UnicodeError:
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return bool(IPv6Address(host))
    except ValueError:
        return False
