"""Answers that were paid for, on disk before they are used.

A SQLite file in write-ahead mode: a process killed at any moment leaves whole rows (JSONL tails tear). The key hashes
everything that shaped the answer, so a stored answer can never be served for another question.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlaif.records.errors import InputError


class AnswerStore:
    """Key -> JSON payload. Writes commit before they return."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, payload TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            fix = "restore it from a backup, or delete it to ask everything again"
            raise InputError(f"this answer store cannot be read: {error}", file=path, fix=fix) from None

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
            fix = "restore it from a backup, or delete it to ask everything again"
            raise InputError(f"this answer store is damaged: {error}", file=self.path, fix=fix) from None
        return found

    def put(self, payloads: Mapping[str, str]) -> None:
        """Store answers in one transaction; an answer already there is replaced (a failed one asked again)."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", list(payloads.items()))
        self._db.execute("COMMIT")

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        self._db.close()
