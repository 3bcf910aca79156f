"""Money: reserved before, settled after, never above the limit, also across kills and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from rlaif.ports.budget import Budget, BudgetSpent, Price, Spending, parse_price
from rlaif.ports.chat import Usage
from rlaif.records.errors import InputError, RunHalted

PRICE = parse_price("1/2")  # a dollar for a million prompt tokens, two for the reply's


def test_a_price_reads_as_price_lists_print_it() -> None:
    assert parse_price("0.15/0.60") == Price(Decimal("0.15"), Decimal("0.60"))
    assert parse_price("0.15 / 0.60").cost(Usage(1_000_000, 1_000_000)) == 750_000_000_000
    assert parse_price("0/0").cost(Usage(5, 5)) == 0
    assert parse_price("0.0000001/0").cost(Usage(1, 0)) == 1  # a tenth of a picodollar is rounded up


@pytest.mark.parametrize("text", ["", "1", "1/2/3", "a/b", "-1/2", "nan/1", "inf/1", "1,5/2"])
def test_other_texts_are_no_prices(text: str) -> None:
    with pytest.raises(InputError, match=r"0\.15/0\.60"):
        parse_price(text)


def test_a_limit_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="price"):
        Budget(tmp_path / "cost", None, 1.0)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_is_an_amount(limit: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit"):
        Budget(tmp_path / "cost", PRICE, limit)


def test_the_worst_case_is_replaced_by_the_truth(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "cost", PRICE, 1.0)
    ticket = budget.reserve(100_000, 200_000)
    assert budget.summary() == Spending(Decimal(0), Decimal("0.5"), 0, 0, 0, 1)
    budget.settle(ticket, Usage(50_000, 25_000))
    assert budget.summary() == Spending(Decimal("0.1"), Decimal(0), 50_000, 25_000, 1, 0)
    budget.settle(ticket, Usage(50_000, 25_000))  # a ticket counts once
    assert budget.summary().spent == Decimal("0.1")


def test_a_refused_request_costs_nothing(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "cost", PRICE, 1.0)
    budget.settle(budget.reserve(1000, 1000), Usage())
    assert budget.summary() == Spending(Decimal(0), Decimal(0), 0, 0, 0, 0)


def test_the_limit_holds_to_the_token(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "cost", PRICE, 0.00001)  # ten prompt tokens
    ticket = budget.reserve(4, 0)
    budget.reserve(6, 0)
    with pytest.raises(BudgetSpent, match=r"limit of \$0\.000010"):
        budget.reserve(1, 0)
    budget.settle(ticket, Usage(3, 0))
    budget.reserve(1, 0)
    with pytest.raises(RunHalted):
        budget.reserve(1, 0)
    assert budget.summary().reserved + budget.summary().spent == Decimal("0.00001")


def test_without_a_price_tokens_are_counted(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "cost")
    budget.settle(budget.reserve(10**9, 10**9), Usage(7, 3))
    assert budget.summary() == Spending(Decimal(0), Decimal(0), 7, 3, 1, 0)


def test_what_a_killed_process_reserved_stays_counted(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path\n"
        "from rlaif.ports.budget import Budget, Usage, parse_price\n"
        f"b = Budget(Path({str(tmp_path / 'cost')!r}), parse_price('1/2'), 1.0)\n"
        "b.settle(b.reserve(100_000, 0), Usage(100_000, 0)); b.reserve(300_000, 100_000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == -signal.SIGKILL
    budget = Budget(tmp_path / "cost", PRICE, 1.0)
    found = budget.summary()
    assert (found.spent, found.reserved, found.open_requests) == (Decimal("0.1"), Decimal("0.5"), 1)
    with pytest.raises(BudgetSpent):
        budget.reserve(400_001, 0)
    budget.reserve(400_000, 0)


def test_processes_that_share_a_ledger_share_its_limit(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from rlaif.ports.budget import Budget, BudgetSpent, parse_price\n"
        f"b = Budget(Path({str(tmp_path / 'cost')!r}), parse_price('1/2'), 0.0001)\n"
        "n = 0\n"
        "try:\n"
        "    while True: b.reserve(1, 0); n += 1\n"
        "except BudgetSpent: print(n)"
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in running) == 100


def test_a_ledger_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "cost").write_text("not a database, but long enough to look like one" * 40)
    with pytest.raises(InputError, match="cost"):
        Budget(tmp_path / "cost", PRICE)
