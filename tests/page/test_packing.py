"""Rows that travel inside a page: what is unpacked is what was packed, whatever the texts."""

from __future__ import annotations

import base64
import json
import random
import zlib

from rlaif.page.packing import pack
from tests.page.payloads import PAYLOADS


def unpacked(text: str) -> list[object]:
    return [json.loads(line) for line in zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS).splitlines()]


def test_every_text_comes_back() -> None:
    packed = pack({"a": 1}, (([text], [number]) for number, text in enumerate(PAYLOADS)))
    assert packed.rows == len(PAYLOADS) and packed.first.isascii() and "<" not in packed.first
    assert unpacked(packed.first) == [{"a": 1}, *([text] for text in PAYLOADS)]
    assert unpacked(packed.second) == [[number] for number in range(len(PAYLOADS))]


def test_no_more_rows_than_there_is_room_for() -> None:
    chance = random.Random(0)
    rows: list[tuple[list[str], list[int]]] = [([chance.randbytes(150).hex()], []) for _ in range(5000)]
    packed = pack({}, rows, most=60_000)
    assert 0 < packed.rows < 5000
    assert len(packed.first) < 4 / 3 * 60_000 + 100_000  # what deflate still holds back when the bound is passed
    assert len(unpacked(packed.first)) == 1 + packed.rows and len(unpacked(packed.second)) == packed.rows
