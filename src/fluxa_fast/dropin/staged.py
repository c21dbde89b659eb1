"""The commands of a pipeline between being called and being executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from .. import protocol
from ..errors import FluxaError
from ..protocol.interface import INCOMPLETE, CommandStack, Staging
from ..protocol.resp import argument_bytes, bulk
from .clients import captured

__all__ = ["STAGED_FROM", "WRITTEN", "Staged", "check_ints", "is_worth_staging"]

WRITTEN = ("XADD", "XACK", "XDEL", "XTRIM")  # at once; their replies are plain
_OPTION_TYPES = frozenset({str, bytes, int, bool, type(None)})
_LARGE = 2**64
_KEPT_OPTIONS = 256  # sets of XADD options that are remembered

STAGED_FROM = 8  # commands; redis-py is as fast with fewer
_MIXED_FROM = 64  # commands, if some of them are not stream commands

Command = tuple[tuple[Any, ...], dict[str, Any]]


def is_worth_staging(commands: Staged | CommandStack | list[Command]) -> bool:
    """Return whether there are enough commands, and most of them are stream commands."""
    count = len(commands)
    if count < STAGED_FROM:
        return False
    if count < _MIXED_FROM:
        return all(arguments[0] in WRITTEN for arguments, _ in commands)
    return 2 * sum(arguments[0] in WRITTEN for arguments, _ in commands) >= count


def check_ints(commands: Iterable[Command]) -> None:
    """Refuse an int of thousands of digits, with which hiredis (3.5) would end the process.

    Raises:
        ValueError: Python's own, for an int that it does not print.
    """
    staging = protocol.default.staging
    if staging is not None:
        staging.check_ints(commands)
        return
    for arguments, _ in commands:
        for one in arguments:
            if type(one) is int and not -_LARGE < one < _LARGE:
                repr(one)


class Staged:
    """In the place of the list that is redis-py's `command_stack`.

    Stream commands of plain arguments are written to a buffer at once. The others are kept as redis-py keeps them, and
    packed by redis-py when the pipeline is executed. All stay here, so that they can be sent again.

    Args:
        staging: writes commands of plain arguments.
        utf8: whether the connections write all text as UTF-8, and not only ASCII text as ASCII.
    """

    def __init__(self, staging: Staging, utf8: bool) -> None:
        self._staging = staging
        self._utf8 = utf8
        self._buffer = protocol.default.CommandBuffer()
        self._later: list[tuple[int, int, Command]] = []  # (written commands, and bytes, before it; command)
        self._options: dict[Any, tuple[bytes, int]] = {}
        self._last_options: dict[str, Any] = {}
        self._last_written = (b"", 0)
        self._sealed = ""  # why nothing can be added

    def __len__(self) -> int:
        return self._buffer.command_count + len(self._later)

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands())

    def __getitem__(self, position: int) -> Command:
        return self.commands()[position]

    # ---- sealing ----

    def seal(self, why: str) -> None:
        """Take no more commands: they would be waited for, and were not sent; or the buffer is being sent."""
        self._sealed = why  # the quick ways leave it to `append` then

    def unseal(self) -> None:
        """End `seal`."""
        self._sealed = ""

    # ---- staging ----

    def append(self, command: Command) -> None:
        """Take a command as redis-py made it: (arguments, options).

        Raises:
            FluxaError: while it is sealed.
        """
        arguments, options = command
        if not options and self.stage(arguments):
            return
        if self._sealed:
            raise FluxaError(self._sealed)
        buffer = self._buffer
        self._later.append((buffer.command_count, len(buffer), command))

    def stage(self, arguments: tuple[Any, ...]) -> bool:
        """Write a command, if it is a stream's and its arguments are plain."""
        if self._sealed or type(arguments[0]) is not str or arguments[0] not in WRITTEN:
            return False
        return self._staging.stage_command(self._buffer, arguments, self._utf8)

    def entry(self, name: Any, fields: Any, id: Any, options: dict[str, Any]) -> bool:
        """Write an XADD, if what it is made of is plain."""
        if self._sealed or type(fields) is not dict or not fields:
            return False
        if not options:
            return self._staging.stage_entry(self._buffer, name, b"", 0, id, fields, self._utf8)
        if type(id) is not str or id != "*":
            return False
        written = self._written_options(options)
        if written is None:
            return False
        return self._staging.stage_entry(self._buffer, name, *written, id, fields, self._utf8)

    def _written_options(self, options: dict[str, Any]) -> tuple[bytes, int] | None:
        """The arguments that redis-py makes of these options: (RESP, their number). None if they are not plain."""
        if self._staging.same_objects(options, self._last_options):
            return self._last_written
        kinds = [*map(type, options.values())]
        if not _OPTION_TYPES.issuperset(kinds):
            return None
        # Types are compared before values: 1 is not True here, and "a" is never compared with b"a".
        key = (*kinds, *options.items())
        written = self._options.get(key) or self._made(options)
        if written is None:
            return None
        if len(self._options) == _KEPT_OPTIONS:
            self._options.clear()
        self._options[key] = self._last_written = written
        self._last_options = options
        return written

    def _made(self, options: dict[str, Any]) -> tuple[bytes, int] | None:
        made = captured("xadd", "", {"": ""}, **options).arguments[2:-3]
        if not all(type(one) in (bytes, int) or (isinstance(one, str) and one.isascii()) for one in made):
            return None  # also for a bool, which redis-py refuses when it executes the pipeline
        return b"".join(bulk(argument_bytes(one)) for one in made), len(made)

    # ---- executing ----

    def packed(self, connection: Any) -> memoryview | bytes:
        """All commands, in order, as they are sent. The others are packed by the connection.

        Raises:
            redis.DataError: if one of the others has an argument that can't be sent.
            ValueError: if it is an int that Python does not print.
        """
        if not self._later:
            return self._buffer.view()
        with self._buffer.view() as view:
            written = bytes(view)
        pieces: list[Any] = []
        at = 0
        check_ints(command for _, _, command in self._later)
        for _, before, (arguments, _) in self._later:
            pieces.append(written[at:before])
            pieces += connection.pack_command(*arguments)
            at = before
        pieces.append(written[at:])
        return b"".join(pieces)

    @property
    def later(self) -> Iterator[tuple[int, Command]]:
        """(position, command) of those that redis-py packs, and whose replies it parses."""
        return ((written + index, command) for index, (written, _, command) in enumerate(self._later))

    @property
    def before_others(self) -> int:
        """How many commands there are in front of the first one that redis-py packs."""
        return self._later[0][0] if self._later else self._buffer.command_count

    def names_from(self, position: int, written_are_alike: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Return the name and the options of each command from a position on, as redis-py's parser needs them.

        Args:
            position: of the first.
            written_are_alike: whether the names of commands that were written here make no difference.
        """
        if not written_are_alike:
            return ((arguments[0], options) for arguments, options in self.commands()[position:])
        found: list[tuple[Any, dict[str, Any]]] = [("XADD", {})] * len(self)
        for place, (arguments, options) in self.later:
            found[place] = (arguments[0], options)
        return iter(found[position:])

    def commands(self) -> list[Command]:
        """All commands, as redis-py would have kept them, except that plain arguments are bytes."""
        written = self._written()
        commands: list[Command] = []
        for position, command in self.later:
            commands += ((arguments, {}) for arguments in islice(written, position - len(commands)))
            commands.append(command)
        commands += ((arguments, {}) for arguments in written)
        return commands

    def _written(self) -> Iterator[tuple[Any, ...]]:
        """What is in the buffer: a command is an array of strings, as a reply may be."""
        reader = protocol.default.ReplyReader()
        with self._buffer.view() as view:
            reader.feed(view)
        command: Any
        while (command := reader.read()) is not INCOMPLETE:
            yield (command[0].decode(), *command[1:])
