"""Addresses as they may be shown: without what is secret in them."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["checked_url", "shown"]


def shown(address: object) -> str:
    """The address, for an error or a log: user, password and options are left out of it."""
    if not isinstance(address, str):
        return repr(address)
    plain, question_mark, _ = address.partition("?")
    head, at, host = plain.rpartition("@")
    if at:
        scheme, separator, _ = head.partition("://")
        plain = f"{scheme}{separator}***@{host}" if separator else f"***@{host}"
    return repr(f"{plain}?..." if question_mark else plain)


def checked_url(url: str) -> str:
    """The scheme of a URL.

    Raises:
        ValueError: if its port can't be read. (Python's own error quotes a part of the password, if that is why.)
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (it is read when it is asked for)
    except ValueError:
        raise ValueError(
            f"the URL {shown(url)} can't be read; is a special character of its password not percent-encoded?"
        ) from None
    return parts.scheme
