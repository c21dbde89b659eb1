"""Names and numbers of the wire format. `compiled/wire.pxd` repeats the names of fields; a test compares them."""

from __future__ import annotations

from typing import Final

from .resp import bulk

BODY_FIELD: Final = "s"
"""The field of an entry that holds the packed body. Every other field is a tag."""
BODY_FIELD_BYTES: Final = BODY_FIELD.encode()
BODY_FIELD_RESP: Final = bulk(BODY_FIELD_BYTES)
"""The field's name as an argument of XADD."""

RESERVED_PREFIX: Final = "_fluxa:"
"""The names of fields that are no tags begin with this. `publish` refuses such tags."""
PACKED_FIELD: Final = f"{RESERVED_PREFIX}packed"
"""The first field of a packed entry: its version, how many events it has, and how they are written."""
PACKED_FIELD_BYTES: Final = PACKED_FIELD.encode()
PACKED_FIELD_RESP: Final = bulk(PACKED_FIELD_BYTES)
PACKED_TAGS_FIELD: Final = f"{RESERVED_PREFIX}tags"
"""The field of a packed entry that holds the tags which differ from event to event."""
PACKED_TAGS_FIELD_BYTES: Final = PACKED_TAGS_FIELD.encode()
PACKED_VERSION: Final = 1

COMPLEX_EXT: Final = -128
"""The msgpack extension type of a complex number: that of shamaton/msgpack, which the original uses."""
TIMESTAMP_EXT: Final = -1
"""The msgpack extension type of a timestamp, by the msgpack specification."""
