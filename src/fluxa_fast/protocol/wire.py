"""Names and numbers of the wire format. `compiled/wire.pxd` repeats the name of the body; a test compares the two."""

from __future__ import annotations

from typing import Final

from .resp import bulk

BODY_FIELD: Final = "s"
"""The field of an entry that holds the packed body. Every other field is a tag."""
BODY_FIELD_BYTES: Final = BODY_FIELD.encode()
BODY_FIELD_RESP: Final = bulk(BODY_FIELD_BYTES)
"""The field's name as an argument of XADD."""

COMPLEX_EXT: Final = -128
"""The msgpack extension type of a complex number: that of shamaton/msgpack, which the original uses."""
TIMESTAMP_EXT: Final = -1
"""The msgpack extension type of a timestamp, by the msgpack specification."""
