from typing import Any, Final

from .commands import CommandCore

built_for: Final[str]

def stage_command(out: CommandCore, arguments: tuple[Any, ...], utf8: bool) -> bool: ...
def stage_entry(
    out: CommandCore, name: Any, options: bytes, option_count: int, id: Any, fields: dict[Any, Any], utf8: bool
) -> bool: ...
def same_objects(one: dict[Any, Any], other: dict[Any, Any]) -> bool: ...
