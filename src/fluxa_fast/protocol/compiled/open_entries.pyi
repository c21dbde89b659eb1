from collections.abc import Callable
from typing import Final

from ...packing import Packing
from ..interface import Default
from .packing import Packer

built_for: Final[str]

class OpenEntry(Packer):
    def __init__(
        self, default: Default | None, encode_body: Callable[[bytes], bytes] | None, packing: Packing
    ) -> None: ...
    @property
    def count(self) -> int: ...
