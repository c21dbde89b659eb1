from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from ..hashing import Key
from ..interface import EntryHead
from ..sealed_batch import SealedBatch

built_for: Final[str]

@final
class BatchWriter:
    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, int, Any]],
        limits: tuple[int, int, int, int],
        on_batch: Callable[[], object],
        on_full: Callable[[str, Any, Any, Any, Any], Any],
        *,
        lock: Any = None,
        accepted: Any = None,
    ) -> None: ...
    @property
    def sealed(self) -> deque[SealedBatch]: ...
    @property
    def began(self) -> float | None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def total(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def buffered(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def room(self) -> bool: ...
    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Any: ...
    def add(
        self,
        stream: str,
        body: object,
        tags: Mapping[str, str] | None,
        key: Key | None,
        id: str | None,
        receipt: Any,
        beyond: bool,
    ) -> bool: ...
    def add_many(
        self,
        stream: str,
        bodies: Sequence[object],
        tags: Mapping[str, str] | None,
        first: int,
        key: Key | None,
        beyond: bool,
    ) -> bool: ...
    def seal(self) -> None: ...
    def drop(self, events: int) -> int: ...
    def let_go(self, events: int, size: int) -> None: ...
    def note_again(self) -> None: ...
    def check_idle(self) -> None: ...
    def close(self) -> None: ...
    def renew(self, lock: Any = None) -> None: ...
