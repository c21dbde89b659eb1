from typing import Final

from ..interface import Default
from .buffer import ByteBuffer

built_for: Final[str]

class Packer(ByteBuffer):
    default: Default | None

def pack(value: object, default: Default | None = None) -> bytes: ...
