"""Packs rows for the page's script: JSON lines, deflated, as base64 text that stands inside the page.

Browsers unpack it with `DecompressionStream`. Half of a surrogate pair cannot be UTF-8: it travels as a JSON escape.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

MOST = 10 << 20  # bytes, deflated: 14 MiB as base64
SURROGATE = re.compile("[\ud800-\udfff]")


class Packed(NamedTuple):
    """Base64 of deflated lines. `first`: the head, then a line for each row, which the page reads at once; `second`: a
    line for each row that it reads when it can be used already. `rows`: how many rows these are."""

    first: str
    second: str
    rows: int


def pack(head: dict[str, Any], rows: Iterable[tuple[Any, Any]], most: int = MOST) -> Packed:
    """The head and the two parts of each row, as many rows as `most` bytes hold."""
    squeezes = tuple(zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS) for _ in range(2))
    parts = [[squeezes[0].compress(_line(head))], [b""]]
    size, count = len(parts[0][0]), 0
    for row in rows:
        for squeeze, part, value in zip(squeezes, parts, row, strict=True):
            part.append(squeeze.compress(_line(value)))
            size += len(part[-1])
        count += 1
        if size > most:
            break
    first, second = (
        base64.b64encode(b"".join([*part, squeeze.flush()])).decode("ascii")
        for squeeze, part in zip(squeezes, parts, strict=True)
    )
    return Packed(first, second, count)


def _line(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return SURROGATE.sub(lambda half: f"\\u{ord(half.group()):04x}", text).encode() + b"\n"
