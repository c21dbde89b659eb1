"""The annotations of a class: resolved, and with the types that its type variables stand for."""

from __future__ import annotations

import inspect
import typing
from typing import Any, get_args, get_origin, get_type_hints

from ..encode_errors import described

__all__ = ["alias_value", "field_hints", "is_alias"]

Variables = dict[Any, Any]


def field_hints(wanted: Any) -> dict[str, Any]:
    """Return the type of each field of a class, also of a generic one: ``Page[Line]``, or a subclass of it.

    Raises:
        TypeError: if an annotation can't be resolved, with the class and what to do.
    """
    base: Any = get_origin(wanted) or wanted
    try:
        hints = get_type_hints(base, include_extras=True)
    except Exception as error:
        raise TypeError(
            f"the annotations of {base.__qualname__} can't be resolved: {described(error)}; define what "
            "they name in the module of the class, and before the type is registered"
        ) from error
    owners = _variables(wanted)
    if not any(owners.values()):
        return hints
    return {name: substituted(hint, _variables_at(name, base, owners)) for name, hint in hints.items()}


def _variables(wanted: Any) -> dict[Any, Variables]:
    """Return the types of the type variables of a class and of its bases, by the class that has the variables."""
    base: Any = get_origin(wanted) or wanted
    own = dict(zip(getattr(base, "__parameters__", ()), get_args(wanted), strict=False))
    found: dict[Any, Variables] = {base: own}
    for generic in getattr(base, "__orig_bases__", ()):
        origin = get_origin(generic)
        if origin is not None and origin not in (typing.Generic, typing.Protocol):
            arguments = tuple(substituted(argument, own) for argument in get_args(generic))
            for owner, variables in _variables(origin[arguments]).items():
                found.setdefault(owner, variables)
    return found


def _variables_at(name: str, base: Any, owners: dict[Any, Variables]) -> Variables:
    """Return the variables of the class that has declared the field."""
    for owner in [*getattr(base, "__mro__", (base,)), *owners]:
        if owner in owners and name in inspect.get_annotations(owner):
            return owners[owner]
    return owners[base]


def substituted(hint: Any, variables: Variables) -> Any:
    """Return a type with its type variables replaced. A variable that stands for nothing is left."""
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or (isinstance(hint, type) and get_origin(hint) is None):
        return hint
    return hint[tuple(variables.get(parameter, parameter) for parameter in parameters)]


def is_alias(wanted: Any) -> bool:
    """Whether it was made by a ``type`` statement, or by TypeAliasType."""
    return type(wanted).__name__ == "TypeAliasType"


def alias_value(wanted: Any) -> Any:
    """Return the type that an alias is a name of. ``Pair[int]`` of a generic alias too.

    Raises:
        TypeError: if it names a type that is not there.
    """
    alias = get_origin(wanted) or wanted
    try:
        value = alias.__value__
    except Exception as error:
        raise TypeError(f"the alias {alias.__name__} can't be resolved: {described(error)}") from error
    return substituted(value, dict(zip(alias.__type_params__, get_args(wanted), strict=False)))
