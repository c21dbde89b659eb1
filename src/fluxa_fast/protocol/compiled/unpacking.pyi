from typing import Any, Final

built_for: Final[str]

def unpack(data: Any) -> Any: ...
