from typing import Final

built_for: Final[str]
