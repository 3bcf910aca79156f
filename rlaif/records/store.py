"""Answers that were paid for, on disk before they are used.

A SQLite file in write-ahead mode: a process killed at any moment leaves whole rows (JSONL tails tear). The key hashes
everything that shaped the answer, so a stored answer can never be served for another question. What the answers took
is counted beside them, in the same transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlaif.records.errors import InputError
from rlaif.records.usage import Use

DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
COUNTS = ("asked", "cached", "failed", "prompt_tokens", "completion_tokens", "completion_squares", "seconds")
TABLES = f"""
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uses (
    purpose TEXT, model TEXT, {", ".join(f"{name} NUMERIC NOT NULL" for name in COUNTS)}, PRIMARY KEY (purpose, model)
);
"""
COUNT = f"""
INSERT INTO uses VALUES ({", ".join("?" * (2 + len(COUNTS)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)}
"""


class AnswerStore:
    """Key -> JSON payload. Writes commit before they return."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise self._fault(error) from None

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """The payloads of those keys that are stored."""
        wanted = list(keys)
        found: dict[str, str] = {}
        try:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                marks = ",".join("?" * len(part))
                found.update(self._db.execute(f"SELECT key, payload FROM answers WHERE key IN ({marks})", part))
        except sqlite3.DatabaseError as error:
            raise self._fault(error) from None
        return found

    def put(self, payloads: Mapping[str, str], use: Use | None = None) -> None:
        """Store answers, and count what they took, in one transaction; an answer already there is replaced (a failed
        one asked again)."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", list(payloads.items()))
            if use is not None:
                self._db.execute(COUNT, (use.purpose, use.model, *(getattr(use, name) for name in COUNTS)))
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._fault(error) from None

    def uses(self) -> list[Use]:
        """What its answers took so far, over all attempts."""
        names = ("purpose", "model", *COUNTS)
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM uses ORDER BY rowid")
        return [Use(**dict(zip(names, row, strict=True))) for row in rows]

    def _fault(self, error: sqlite3.DatabaseError) -> InputError:
        """A disk that is full or cannot be written leaves a sound store: what is in it must not be thrown away."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK:
            fix = "make room, or mend the folder's rights; the same command goes on"
            return InputError(f"this answer store cannot be used: {error}", file=self.path, fix=fix)
        fix = "restore it from a backup, or delete it to ask everything again"
        return InputError(f"this answer store is damaged: {error}", file=self.path, fix=fix)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        self._db.close()


class LayeredStore(AnswerStore):
    """A store that also knows what another file holds. What is answered goes to its own file alone."""

    def __init__(self, path: Path, other: Path) -> None:
        super().__init__(path)
        self._other = AnswerStore(other)

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        wanted = list(keys)
        own = super().get(wanted)
        return {**self._other.get(key for key in wanted if key not in own), **own}

    def close(self) -> None:
        self._other.close()
        super().close()


def stored_uses(path: Path) -> list[Use]:
    """What the answers of a store took; nothing where there is no store."""
    if not path.is_file():
        return []
    store = AnswerStore(path)
    try:
        return store.uses()
    finally:
        store.close()
