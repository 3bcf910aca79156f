from __future__ import annotations

import pytest

from rlaif.ports.chat import Sampling
from rlaif.ports.experience import Draw, joined, rows_of
from rlaif.ports.processes import ALONE, Alone, launched, slice_of
from rlaif.ports.rewards import Scores
from rlaif.records.errors import InputError


class OneOf(Alone):
    """A process among others that need not be there."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def draw(size: int, group: int) -> Draw:
    return Draw(size, group, Sampling(1.0, 8), seed=0)


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 3), (3, 3), (5, 1)])
def test_slices_follow_each_other_and_differ_by_one_at_most(count: int, size: int) -> None:
    slices = [slice_of(count, OneOf(rank, size)) for rank in range(size)]
    assert [row for own in slices for row in own] == list(range(count))
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_a_process_draws_whole_groups() -> None:
    assert [rows_of(draw(12, 4), OneOf(rank, 2)) for rank in (0, 1)] == [range(0, 4), range(4, 12)]
    assert rows_of(draw(12, 4), ALONE) == range(0, 12)


def test_processes_without_a_prompt_are_refused() -> None:
    with pytest.raises(InputError, match="3 prompts leaves some of 4 processes"):
        rows_of(draw(12, 4), OneOf(0, 4))


def test_scores_join_in_order() -> None:
    one, two = Scores([1.0, None], {"a": [1.0, None]}, [0.5, 0.6]), Scores([2.0], {"a": [2.0]}, [0.7])
    assert joined([one, two]) == Scores([1.0, None, 2.0], {"a": [1.0, None, 2.0]}, [0.5, 0.6, 0.7])
    assert joined([one._replace(costs=None), two._replace(costs=None)]).costs is None


def test_one_process_is_not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """`accelerate launch --num_processes 1` sets a world of one; a stray WORLD_SIZE names no rank."""
    for rank, size, expected in ((None, "2", False), ("0", "1", False), ("1", "2", True)):
        monkeypatch.setenv("WORLD_SIZE", size)
        monkeypatch.delenv("RANK", raising=False)
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        assert launched() is expected
