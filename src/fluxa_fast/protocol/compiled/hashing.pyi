from typing import Final

from ..hashing import Key

built_for: Final[str]

def key_slot(key: Key) -> int: ...
def key_hash(key: Key) -> int: ...
