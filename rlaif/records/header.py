"""The header that every record file starts from."""

from __future__ import annotations

from rlaif.records.base import Record

SCHEMA_VERSION = 1


class Header(Record):
    """What a file is and what it was made from. Nothing here depends on clock, host or path."""

    kind: str
    schema_version: int = SCHEMA_VERSION
    config_hash: str
    parents: dict[str, str]  # artifact name -> sha256 of its content
