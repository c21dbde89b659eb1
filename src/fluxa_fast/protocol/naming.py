"""Names of fields on the wire that differ from their Python names: ``UserID`` for ``user_id``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

__all__ = ["Rule", "has_wire_names", "wire_name_of", "wire_names"]

Rule = Literal["go", "pascal", "camel", "kebab", "lower", "upper"]
T = TypeVar("T", bound=type)

_ATTRIBUTE = "__wire_names__"
# Words that Go writes in capitals only.
_INITIALISMS = frozenset(
    """
    acl api ascii cpu css dns eof guid html http https id ip json lhs qps ram rhs rpc sla smtp sql ssh tcp tls ttl udp
    ui uid uuid uri url utf8 vm xml xmpp xsrf xss
    """.split()  # noqa: SIM905 (a list of forty lines says no more)
)


def _words(name: str) -> list[str]:
    return [word for word in name.split("_") if word]


def _go(name: str) -> str:
    return "".join(word.upper() if word.lower() in _INITIALISMS else _capital(word) for word in _words(name))


def _pascal(name: str) -> str:
    return "".join(map(_capital, _words(name)))


def _camel(name: str) -> str:
    first, *others = _words(name) or [""]
    return first.lower() + "".join(map(_capital, others))


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


_RULES: dict[Any, Callable[[str], str]] = {
    "go": _go,
    "pascal": _pascal,
    "camel": _camel,
    "kebab": lambda name: "-".join(_words(name)),
    "lower": str.lower,
    "upper": str.upper,
}


def wire_names(rule: Rule | Callable[[str], str] | None = None, /, **names: str) -> Callable[[T], T]:
    """A class decorator that sets the names of a class's fields in bodies, for writing and for reading.

    For dataclasses, attrs classes and NamedTuples; put it above ``@dataclass``. A msgspec.Struct has ``rename=`` for
    this, a pydantic model has aliases; both are respected. Subclasses inherit the names.

    Args:
        rule: ``"go"`` (``user_id`` is ``UserID``), ``"pascal"`` (``UserId``), ``"camel"`` (``userId``), ``"kebab"``
            (``user-id``), ``"lower"``, ``"upper"``, or a function that is given the field's name.
        names: the wire names of single fields, which win over the rule: ``wire_names("go", sku="StockUnit")``.

    Raises:
        ValueError: for an unknown rule, for a field that the class does not have, or for two fields of one wire name.
        TypeError: for a class without fields, and for a class that names its fields in another way.
    """
    if rule is not None and not callable(rule) and rule not in _RULES:
        raise ValueError(f"a rule is {', '.join(map(repr, get_args(Rule)))} or a function, not {rule!r}")
    apply: Callable[[str], str] = rule if callable(rule) else _RULES.get(rule, str)

    def decorate(cls: T) -> T:
        fields = _field_names(cls)
        for name in names:
            if name not in fields:
                raise ValueError(f"{cls.__qualname__} has no field {name!r}; it has {', '.join(fields)}")
        setattr(cls, _ATTRIBUTE, (apply, {**getattr(cls, _ATTRIBUTE, (None, {}))[1], **names}))
        by_wire_name: dict[str, str] = {}
        for field in fields:
            other = by_wire_name.setdefault(wire_name_of(cls, field), field)
            if other != field:
                raise ValueError(f"{other!r} and {field!r} of {cls.__qualname__} have the same wire name")
        return cls

    return decorate


def _field_names(cls: Any) -> list[str]:
    for owner, hint in (("__struct_encode_fields__", "rename="), ("__pydantic_fields__", "aliases")):
        if hasattr(cls, owner):
            raise TypeError(f"{cls.__qualname__} has its own way to name fields: use {hint} instead of wire_names()")
    for attribute in ("__dataclass_fields__", "_fields"):
        if hasattr(cls, attribute):
            return list(getattr(cls, attribute))
    if hasattr(cls, "__attrs_attrs__"):
        return [one.name for one in cls.__attrs_attrs__]
    name = getattr(cls, "__qualname__", cls)
    raise TypeError(f"{name} is no dataclass, attrs class or NamedTuple; wire_names() goes above @dataclass")


def has_wire_names(cls: Any) -> bool:
    """Whether fields of a class have names on the wire that `wire_names` has set."""
    return hasattr(cls, _ATTRIBUTE)


def wire_name_of(cls: Any, field: str) -> str:
    """Return the name of a class's field on the wire."""
    naming: tuple[Callable[[str], str], dict[str, str]] = getattr(cls, _ATTRIBUTE, (str, {}))
    apply, names = naming
    found = names.get(field)
    name = apply(field) if found is None else found
    if type(name) is not str:
        raise TypeError(f"the wire name of {field!r} is a str, not {type(name).__name__}")
    return name
