"""Seeds by (run seed, row id, role): what one row draws never depends on which rows came before it."""

from __future__ import annotations

import hashlib


def derive(run_seed: int, row_id: str, role: str) -> int:
    """A 31-bit seed. The same three inputs always give the same seed; any change gives an unrelated one."""
    text = f"{run_seed}\x1f{row_id}\x1f{role}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
