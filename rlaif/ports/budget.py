"""What a run may spend, and what it has spent: a ledger on disk that is written before the money is.

The worst case of a request is committed before the request is sent, and replaced by the truth when its answer is
there. A process that is killed in between leaves its reservations behind, and they stay counted: what they were for
may have been billed. So a limit holds across kills, restarts and processes that share the ledger.

Money is kept in whole picodollars, so that sums are exact and depend on no order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from rlaif.ports.chat import Usage
from rlaif.records.errors import InputError, RunHalted

DOLLAR = 10**12  # picodollars
TABLES = """
CREATE TABLE IF NOT EXISTS reserved (ticket INTEGER PRIMARY KEY AUTOINCREMENT, cost INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settled (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cost INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, requests INTEGER NOT NULL
);
INSERT OR IGNORE INTO settled VALUES (1, 0, 0, 0, 0);
"""


class Price(NamedTuple):
    """US dollars for a million tokens of the prompt, and for a million of the reply."""

    prompt: Decimal
    completion: Decimal

    def cost(self, usage: Usage) -> int:
        """Picodollars, rounded up."""
        million = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return int((million * (DOLLAR // 10**6)).to_integral_value(ROUND_CEILING))


class Spending(NamedTuple):
    """What the ledger says. Reservations that no answer settled are in `reserved`: they may have been billed."""

    spent: Decimal  # US dollars
    reserved: Decimal  # US dollars
    prompt_tokens: int
    completion_tokens: int
    requests: int  # settled
    open_requests: int  # reserved


class BudgetSpent(RunHalted):
    """The next request could cost more than is left."""


def parse_price(text: str, *, field: str | None = None) -> Price:
    """Read `PROMPT/COMPLETION`, as price lists print it: "0.15/0.60".

    Raises:
        InputError: it is not two amounts of at least 0.
    """
    try:
        prompt, completion = (Decimal(part.strip()) for part in text.split("/"))
        if not (prompt.is_finite() and completion.is_finite() and min(prompt, completion) >= 0):
            raise ValueError
    except (ValueError, InvalidOperation):
        fix = "write US dollars per million tokens of prompt and reply, for example 0.15/0.60"
        raise InputError(f"{text!r} is not a price", fix=fix, field=field) from None
    return Price(prompt, completion)


class Budget:
    """The ledger of one run.

    Args:
        path: SQLite file, made where there is none.
        price: what tokens cost; without it tokens are counted, and money is not.
        max_cost: US dollars that may be spent in all, reservations included.

    Raises:
        InputError: a limit without a price or that is no amount, or the file cannot be used.
    """

    def __init__(self, path: Path, price: Price | None = None, max_cost: float | None = None) -> None:
        if max_cost is not None and price is None:
            raise InputError("a cost limit means nothing without a price", fix="say what a million tokens cost")
        if max_cost is not None and not 0 <= max_cost < 10**6:
            raise InputError(f"{max_cost} is no cost limit", fix="give an amount in US dollars", field="max_cost")
        self.path = path
        self.price = price or Price(Decimal(0), Decimal(0))
        self.limit = None if max_cost is None else int(Decimal(str(max_cost)) * DOLLAR)
        with self._readable():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(TABLES)

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Commit the worst case of a request that is about to be sent, and return its ticket.

        Args:
            prompt_tokens: at least as many as the prompt can have.
            completion_tokens: at least as many as the reply can have.

        Raises:
            BudgetSpent: settled and reserved costs would pass the limit.
        """
        worst = self.price.cost(Usage(prompt_tokens, completion_tokens))
        with self._transaction() as db:
            spent, reserved = self._costs()
            if self.limit is not None and spent + reserved + worst > self.limit:
                raise BudgetSpent(
                    f"the cost limit of {_dollars(self.limit)} is reached: {_dollars(spent)} spent, "
                    f"{_dollars(reserved)} reserved for requests without an answer, and the next request could cost "
                    f"{_dollars(worst)}. Answers so far are stored; raise the limit and run the same command again"
                )
            ticket = db.execute("INSERT INTO reserved (cost) VALUES (?)", (worst,)).lastrowid
        assert ticket is not None
        return ticket

    def settle(self, ticket: int, usage: Usage) -> None:
        """Replace a reservation by what was billed: nothing, for a request that the endpoint refused."""
        with self._transaction() as db:
            if db.execute("DELETE FROM reserved WHERE ticket = ?", (ticket,)).rowcount:
                db.execute(
                    "UPDATE settled SET cost = cost + ?, prompt_tokens = prompt_tokens + ?, "
                    "completion_tokens = completion_tokens + ?, requests = requests + ?",
                    (self.price.cost(usage), *usage, int(any(usage))),
                )

    def summary(self) -> Spending:
        """What was spent and reserved so far, by every process that used this ledger."""
        with self._readable():
            _, prompt, completion, requests = self._db.execute(
                "SELECT cost, prompt_tokens, completion_tokens, requests FROM settled"
            ).fetchone()
            open_requests = self._db.execute("SELECT COUNT(*) FROM reserved").fetchone()[0]
            spent, reserved = self._costs()
        return Spending(
            Decimal(spent) / DOLLAR, Decimal(reserved) / DOLLAR, prompt, completion, requests, open_requests
        )

    def describe(self) -> str:
        """What was spent, and the limit: "$0.0123 of $1.00"."""
        with self._readable():
            spent, reserved = self._costs()
        limit = "" if self.limit is None else f" of ${Decimal(self.limit) / DOLLAR:.2f}"
        return f"${Decimal(spent + reserved) / DOLLAR:.4f}{limit}"

    def close(self) -> None:
        self._db.close()

    def _costs(self) -> tuple[int, int]:
        (spent,) = self._db.execute("SELECT cost FROM settled").fetchone()
        (reserved,) = self._db.execute("SELECT COALESCE(SUM(cost), 0) FROM reserved").fetchone()
        return spent, reserved

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone with the ledger, from reading the sums to committing what follows from them."""
        with self._readable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            fix = "check the disk and the folder's rights, or restore the file from a backup"
            raise InputError(f"the cost ledger cannot be used: {error}", file=self.path, fix=fix) from None


def _dollars(picodollars: int) -> str:
    return f"${Decimal(picodollars) / DOLLAR:.6f}"
