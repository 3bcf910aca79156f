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
    """`text` is the base64 of the deflated lines, `rows` how many of the rows it holds."""

    text: str
    rows: int


def pack(head: dict[str, Any], rows: Iterable[tuple[Any, Any]], most: int = MOST) -> Packed:
    """One line for the head and two for each row, as many rows as `most` bytes hold: what the page reads at once, and
    what it reads when somebody opens the row."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [squeeze.compress(_line(head))]
    size, count = len(parts[0]), 0
    for row in rows:
        parts.append(squeeze.compress(b"".join(map(_line, row))))
        size += len(parts[-1])
        count += 1
        if size > most:
            break
    parts.append(squeeze.flush())
    return Packed(base64.b64encode(b"".join(parts)).decode("ascii"), count)


def _line(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return SURROGATE.sub(lambda half: f"\\u{ord(half.group()):04x}", text).encode() + b"\n"
