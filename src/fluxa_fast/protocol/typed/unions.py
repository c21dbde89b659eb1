"""Unions: the member that was written is the one that is read.

The type of the decoded value leaves few members. Among these a member counts whose form the value has exactly, in all
its parts: so the required and known fields of classes decide, and fields that are Literal. Only a value that has the
form of none, as other programs write it, goes to the member that is nearest.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, get_args, get_origin

from ...errors import SerializationError
from .forms import Record, holds, kinds
from .nodes import UNIONS, Node, Types, mismatch

__all__ = ["make_union"]


def make_union(types: Types, node: Node) -> bool:
    if get_origin(node.wanted) not in UNIONS:
        return False
    all_members = [types.node(member) for member in get_args(node.wanted)]
    members = [member for member in all_members if member.wanted is not type(None)]
    expected = " or ".join(member.name for member in all_members)
    node.name = expected
    form = tuple(shape for member in all_members for shape in member.form)
    union = _Union(members, expected, may_be_none=len(members) < len(all_members))
    node.is_made(union.convert, form, *all_members, is_plain=True)
    node.members = tuple(members)
    return True


class _Union:
    def __init__(self, members: list[Node], expected: str, *, may_be_none: bool) -> None:
        self._members = members
        self._expected = expected
        self._may_be_none = may_be_none
        self._by_kind: dict[Any, list[Node]] | None = None

    def convert(self, value: Any) -> Any:
        if value is None and self._may_be_none:
            return None
        by_kind = self._by_kind
        if by_kind is None:  # not before all members are complete
            by_kind = self._by_kind = self._of_kinds()
        kind = type(value)
        fitting = by_kind.get(list if kind is tuple else kind) or by_kind[None]
        if len(fitting) == 1 and kind in (dict, list):
            return fitting[0].convert(value)
        exact = [member for member in fitting if holds(member.form, value)] if len(fitting) > 1 else fitting
        if kind is dict and not exact:
            exact = _nearest(fitting, value)
        return self._first(exact, value)

    def _of_kinds(self) -> dict[Any, list[Node]]:
        """Return the members by the type of the decoded values that they are written as."""
        everywhere = [member for member in self._members if None in kinds(member.form)]
        found: dict[Any, list[Node]] = defaultdict(list)
        # An int that may be a duration is an int, and what may be anything else is that.
        for member in sorted(self._members, key=lambda one: 2 if one in everywhere else not one.is_plain):
            for kind in {kind for one in self._members for kind in kinds(one.form)}:
                if kind is not None and (member in everywhere or kind in kinds(member.form)):
                    found[kind].append(member)
        return {**found, None: everywhere}

    def _first(self, exact: list[Node], value: Any) -> Any:
        """Convert to the first of these members that takes the value, or else of all members."""
        refusals: list[SerializationError] = []
        for member in [*exact, *(one for one in self._members if one not in exact)]:
            try:
                return member.convert(value)
            except SerializationError as error:
                refusals.append(error)
                if error._steps and member in exact:
                    break  # another member would take it for something else
        for refusal in refusals:
            if refusal._steps or len(refusals) == 1:  # an error inside the body tells more than the names of all types
                raise refusal
        if exact and isinstance(value, dict):
            raise refusals[0]
        raise mismatch(value, self._expected)


def _nearest(members: list[Node], value: dict[Any, Any]) -> list[Node]:
    """Return the classes that know the most of the names in a map, and of these the ones that miss the fewest."""
    distances: dict[int, list[Node]] = defaultdict(list)
    for member in members:
        records = [shape for shape in member.form if isinstance(shape, Record)]
        if records:
            unknown = min(len(value.keys() - record.fields.keys()) for record in records)
            missing = min(len(record.fields.keys() - value.keys()) for record in records)
            distances[unknown * 1_000_000 + missing].append(member)
    return distances[min(distances)] if distances else []
