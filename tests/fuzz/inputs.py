"""Makes inputs up: well-formed RESP and msgpack, and then all that can be wrong with them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fluxa_fast.protocol.zstd import compressed

__all__ = ["LARGEST", "make"]

LENGTHS = (
    b"-1", b"-2", b"0", b"1", b"2", b"7", b"128", b"65536", b"2147483646", b"2147483647", b"2147483648", b"4294967295",
    b"4294967296", b"536870912", b"536870913", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616", b"+1", b"01", b"-0", b"", b" 1", b"1 ", b"1_0",
    b"0x1", b"\xd9\xa1", b"1e1", b"?", b"1" * 40, b"1" * 5000,
)  # fmt: skip
IDS = (
    b"1709136000000-7", b"0-0", b"18446744073709551615-18446744073709551615", b"18446744073709551616-0", b"1", b"1-", b"-1", b"1-1-1",
    b"1-+1", b"01-1", b"", b"x-y", b"1-1 ", b"9" * 30 + b"-1",
)  # fmt: skip


LARGEST = 64 * 1024  # bytes: what is shown of an input must stay below what an allocation may be


def make(chance: random.Random, target: str) -> bytes:
    """An input for a target. Most of it is right: else nothing behind the first byte would ever be tried."""
    if target == "bodies":
        text = _packed(chance, 0)
    elif target == "packing":
        return chance.randbytes(chance.choice((10, 30, 200)))
    else:
        cut = bytes([chance.randrange(256)])
        shape = _SHAPES.get(target, _any)
        text = cut + b"".join(shape(chance) for _ in range(chance.choice((1, 1, 1, 2, 3))))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        text = _spoiled(chance, text)[:LARGEST]
    return text[: 4 * LARGEST]  # several bombs


def _spoiled(chance: random.Random, text: bytes) -> bytes:
    if not text:
        return chance.randbytes(3)
    at = chance.randrange(len(text))
    way = chance.randrange(7)
    if way == 0:
        return text[:at]
    if way == 1:
        return text[:at] + bytes([text[at] ^ 1 << chance.randrange(8)]) + text[at + 1 :]
    if way == 2:
        return text[:at] + chance.randbytes(chance.randrange(1, 4)) + text[at:]
    if way == 3:
        end = min(len(text), at + chance.randrange(1, 9))
        return text[:at] + text[end:]
    if way == 4:
        end = min(len(text), at + chance.randrange(1, 60))
        return text[:end] + text[at:end] * chance.choice((1, 2, 200)) + text[end:]
    if way == 5:
        return text[:at] + chance.choice(LENGTHS) + b"\r\n" + text[at:]
    number = _number_at(text, at)
    return text if number is None else text[: number[0]] + chance.choice(LENGTHS) + text[number[1] :]


def _number_at(text: bytes, at: int) -> tuple[int, int] | None:
    """Where the next number behind `at` begins and ends."""
    while at < len(text) and not text[at : at + 1].isdigit():
        at += 1
    end = at
    while end < len(text) and text[end : end + 1].isdigit():
        end += 1
    return (at, end) if end > at else None


# ---- RESP -----------------------------------------------------------------------------------------------


def _length(chance: random.Random, right: int) -> bytes:
    return chance.choice(LENGTHS) if chance.random() < 0.03 else b"%d" % right


def _bulk(chance: random.Random, text: bytes) -> bytes:
    kind = chance.random()
    if kind < 0.04:
        return b"+%b\r\n" % text
    if kind < 0.08:
        return b"=%b\r\ntxt:%b\r\n" % (_length(chance, len(text) + 4), text)
    if kind < 0.1:
        return b"$?\r\n;%b\r\n%b\r\n;0\r\n" % (_length(chance, len(text)), text)
    return b"$%b\r\n%b\r\n" % (_length(chance, len(text)), text)


def _many(chance: random.Random, items: list[bytes], marks: bytes = b"*") -> bytes:
    """An array, or what else may stand for one."""
    mark = bytes([chance.choice(marks)])
    count = len(items) // 2 if mark == b"%" else len(items)
    if chance.random() < 0.03:
        return mark + b"?\r\n" + b"".join(items) + b".\r\n"
    text = mark + _length(chance, count) + b"\r\n" + b"".join(items)
    if chance.random() < 0.02:
        return b"|1\r\n+ttl\r\n:1\r\n" + text
    return text


def _any(chance: random.Random, depth: int = 0) -> bytes:
    if depth > 4 or chance.random() < 0.6:
        return _scalar(chance)
    if chance.random() < 0.01:
        return b"*1\r\n" * chance.choice((100, 127, 128, 129, 5000))
    items = [_any(chance, depth + 1) for _ in range(chance.randrange(5))]
    return _many(chance, items, b"***%~>")


def _scalar(chance: random.Random) -> bytes:
    return chance.choice(
        (
            lambda: _bulk(chance, chance.randbytes(chance.choice((0, 1, 5, 30)))),
            lambda: _bulk(chance, chance.choice(IDS)),
            lambda: b":%b\r\n" % chance.choice(LENGTHS),
            lambda: b"(%b\r\n" % chance.choice(LENGTHS),
            lambda: b",%b\r\n" % chance.choice((b"1.5", b"inf", b"-inf", b"nan", b"1e400", b"0x1p3", b"1_0", *LENGTHS)),
            lambda: chance.choice((b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"#t\r\n", b"#f\r\n", b"#x\r\n")),
            lambda: b"-%b\r\n" % chance.choice((b"NOGROUP no", b"", b"\xff", b"ERR")),
            lambda: b"!%b\r\nERR x\r\n" % _length(chance, 5),
            lambda: b">2\r\n+invalidate\r\n*1\r\n+k\r\n",
        )
    )()


def _or_any(chance: random.Random, text: bytes) -> bytes:
    """What belongs here, or a reply of any other type."""
    return _any(chance, 3) if chance.random() < 0.02 else text


def _entry(chance: random.Random) -> bytes:
    id = chance.choice(IDS) if chance.random() < 0.1 else b"%d-%d" % (chance.getrandbits(40), chance.randrange(9))
    fields: list[bytes] = []
    if chance.random() < 0.4:
        fields += [_bulk(chance, part) for part in _pack(chance)]
    for _ in range(chance.choice((0, 0, 1, 2)) if fields else chance.randrange(4)):
        name = chance.choice((b"s", b"s", b"action", b"", b"\xff", chance.randbytes(3)))
        value = _packed(chance, 2) if name == b"s" else chance.randbytes(chance.randrange(8))
        fields += _or_any(chance, _bulk(chance, name)), _or_any(chance, _bulk(chance, value))
    if chance.random() < 0.03:
        fields.append(_bulk(chance, b"odd"))
    body = (
        _many(chance, fields) if chance.random() < 0.9 else chance.choice((b"*-1\r\n", b"$-1\r\n", b"_\r\n", b"*0\r\n"))
    )
    items = [_or_any(chance, _bulk(chance, id)), _or_any(chance, body)]
    if chance.random() < 0.2:
        items += [_or_any(chance, b":%d\r\n" % chance.randrange(9999)), _or_any(chance, b":3\r\n")]
    return _or_any(chance, _many(chance, items))


def _pack(chance: random.Random) -> list[bytes]:
    """Names and values of a packed entry. Most of them are right, as far as they go."""
    count = chance.choice((1, 2, 3, 15, 16, 40))
    wrapped = chance.random() < 0.2
    bodies = b"".join(_pack_body(chance, wrapped) for _ in range(count))
    array = (bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2)) + bodies
    words = [chance.choice((b"1", b"1", b"1", b"1", b"01", b"2")) if chance.random() < 0.1 else b"1", b"%d" % count]
    words += [b"bin"] * wrapped
    columns = [_pack_column(chance, count) for _ in range(chance.randrange(1, 4))]
    tags = _hardly_spoiled(chance, bytes([0x80 | len(columns)]) + b"".join(columns))
    array = _hardly_spoiled(chance, array)
    if chance.random() < 0.2 and _compressible(array):
        words.append(b"zstd:%d" % len(array))
        array = _compressed(chance, array)
    if chance.random() < 0.2 and _compressible(tags):
        words.append(b"tags-zstd:%d" % len(tags))
        tags = _compressed(chance, tags)
    fields = [b"_fluxa:packed", _hardly_spoiled(chance, b" ".join(words)), b"s", array]
    if chance.random() < 0.3:
        fields += chance.choice((b"action", b"s", b"_fluxa:packed", b"\xff")), b"paid"
    if chance.random() < 0.6:
        fields += b"_fluxa:tags", tags
    return fields


def _compressible(text: bytes) -> bool:
    """Not if one other bit made the size in the frame a window of 8 MB to 128 MB: zstd would allocate that."""
    return not 104 <= len(text) % 256 < 144


def _compressed(chance: random.Random, text: bytes) -> bytes:
    frame = compressed(text)
    return frame[:5] + _hardly_spoiled(chance, frame[5:])  # the header says how large the window is


def _hardly_spoiled(chance: random.Random, text: bytes) -> bytes:
    return _spoiled(chance, text)[:LARGEST] if chance.random() < 0.1 else text


def _pack_body(chance: random.Random, wrapped: bool) -> bytes:
    if chance.random() < 0.1:
        return b"\xc0"
    if wrapped:
        return b"\xc4\x02" + chance.randbytes(2)
    if chance.random() < 0.005:
        return b"\x91" * chance.choice((511, 512, 1023, 1024, 1100)) + b"\x05"
    return (
        _packed(chance, 3) if chance.random() < 0.02 else chance.choice((b"\x05", b"\xa3abc", b"\x92\x01\x81\xa1a\xc3"))
    )


def _pack_column(chance: random.Random, count: int) -> bytes:
    """The name and the values of a tag that differs."""
    values = [
        chance.choice((b"\xc0", b"\xa2eu", b"\xa2us", b"\xa1\xff", b"\xc4\x01x"))
        for _ in range(chance.randint(0, count))
    ]
    array = bytes([0x90 | len(values)]) if len(values) < 16 else b"\xdc" + len(values).to_bytes(2)
    return chance.choice((b"\xa6region", b"\xa6action", b"\xa1\xff")) + array + b"".join(values)


def _entries(chance: random.Random) -> bytes:
    return _or_any(chance, _many(chance, [_entry(chance) for _ in range(chance.randrange(5))]))


def _streams(chance: random.Random) -> bytes:
    pairs = [(_bulk(chance, b"orders"), _entries(chance)) for _ in range(chance.randrange(3))]
    if chance.random() < 0.4:
        return _many(chance, [part for pair in pairs for part in pair], b"%")
    return _or_any(chance, _many(chance, [_many(chance, list(pair)) for pair in pairs]))


def _claimed(chance: random.Random) -> bytes:
    items = [_or_any(chance, _bulk(chance, chance.choice(IDS))), _entries(chance)]
    if chance.random() < 0.6:
        items.append(_many(chance, [_bulk(chance, chance.choice(IDS)) for _ in range(chance.randrange(3))]))
    return _or_any(chance, _many(chance, items))


def _confirmed(chance: random.Random) -> bytes:
    return b"".join(
        _or_any(chance, chance.choice((_bulk(chance, chance.choice(IDS)), b"-OOM full\r\n", b"$-1\r\n")))
        for _ in range(chance.randrange(6))
    )


def _one_of_all(chance: random.Random) -> bytes:
    return chance.choice((_streams, _claimed, _entries, _any))(chance)


_SHAPES: dict[str, Callable[[random.Random], bytes]] = {
    "streams": _streams,
    "claimed": _claimed,
    "ranged": _entries,
    "confirmations": _confirmed,
    "plain_replies": _one_of_all,
}


# ---- msgpack --------------------------------------------------------------------------------------------

_SIZES = (0, 1, 2, 31, 32, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def _size(chance: random.Random, right: int, form: str) -> bytes:
    most = 2 ** (8 * struct.calcsize(form)) - 1
    size = chance.choice(_SIZES) if chance.random() < 0.1 else right
    return struct.pack(form, min(size, most))


def _packed(chance: random.Random, depth: int) -> bytes:
    way = chance.randrange(14 if depth < 5 else 8)
    if way == 0:
        return bytes([chance.randrange(256)])
    if way == 1:
        code, form = chance.choice(((0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q")))
        return bytes([code]) + chance.randbytes(struct.calcsize(form))
    if way == 2:
        code, size = chance.choice(((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8), (0xCA, 4), (0xCB, 8)))
        return bytes([code]) + chance.choice((chance.randbytes(size), b"\xff" * size, b"\x80" + bytes(size - 1)))
    if way in (3, 4):
        text = chance.choice((b"UserID", "größe".encode(), b"\xff\xfe", b"", b"\xed\xa0\x80", chance.randbytes(40)))
        codes = ((0xD9, ">B"), (0xDA, ">H"), (0xDB, ">I"), (0xC4, ">B"), (0xC5, ">H"), (0xC6, ">I"))
        code, form = chance.choice(codes)
        if len(text) < 32 and chance.random() < 0.5:
            return bytes([0xA0 | len(text)]) + text
        return bytes([code]) + _size(chance, len(text), form) + text
    if way in (5, 6):
        return _extension(chance)
    if way == 7:
        return chance.choice((b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x05", b"\xff"))
    if way == 8 and chance.random() < 0.05:
        return chance.choice((b"\x91", b"\x81\xc0", b"\x92\x91", b"\xdd\xff\xff\xff\xff")) * chance.choice(
            (511, 512, 513, 9999)
        )
    count = chance.randrange(5)
    if way < 11:
        items = b"".join(_packed(chance, depth + 1) for _ in range(count))
        code, form = chance.choice(((0xDC, ">H"), (0xDD, ">I")))
        return (
            bytes([0x90 | count]) + items
            if chance.random() < 0.6
            else bytes([code]) + _size(chance, count, form) + items
        )
    items = b"".join(_packed(chance, depth + 1) for _ in range(2 * count))
    code, form = chance.choice(((0xDE, ">H"), (0xDF, ">I")))
    return (
        bytes([0x80 | count]) + items if chance.random() < 0.6 else bytes([code]) + _size(chance, count, form) + items
    )


def _extension(chance: random.Random) -> bytes:
    kind = chance.choice((b"\xff", b"\x80", b"\x05", chance.randbytes(1)))
    size = chance.choice((0, 1, 2, 4, 8, 12, 16, 17, 60))
    inner = chance.choice((chance.randbytes(size), b"\xff" * size, bytes(size)))
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    if size in fixed and chance.random() < 0.7:
        return bytes([fixed[size]]) + kind + inner
    code, form = chance.choice(((0xC7, ">B"), (0xC8, ">H"), (0xC9, ">I")))
    return bytes([code]) + _size(chance, size, form) + kind + inner
