"""Checkpoints that are whole, damaged, or of something else; and kill -9 at every file operation of a save."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlaif.ports.checkpoint import Checkpoints
from rlaif.records.errors import NotFinite
from rlaif.records.settings import Lineage

LINEAGE = Lineage("config", {"parent": "digest"})
START = {"beta": 0.5}


def learner(update: int) -> Callable[[Path], None]:
    """Writes 1,000 bytes that tell the update."""

    def write(folder: Path) -> None:
        (folder / "learner.pt").write_bytes(bytes([update]) * 1000)

    return write


def saved(folder: Path, *updates: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, "ppo", LINEAGE)
    for update in updates:
        checkpoints.save(update, {"beta": 0.1 * update}, learner(update))
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def again(folder: Path) -> Checkpoints:
    """What the next process makes of the folder."""
    return Checkpoints(folder, "ppo", LINEAGE)


def test_nothing_is_there_and_nothing_is_said(tmp_path: Path) -> None:
    assert again(tmp_path / "checkpoint").latest(START) == (0, START, None, "")


def test_the_newest_of_two_is_used_and_older_ones_are_gone(tmp_path: Path) -> None:
    saved(tmp_path, 20, 40, 60)
    assert names(tmp_path) == ["update-000040", "update-000060"]
    found = again(tmp_path).latest(START)
    assert found.update == 60 and found.state["beta"] == pytest.approx(6.0)
    assert found.note == "going on from the checkpoint of update 60"
    assert found.folder is not None and (found.folder / "learner.pt").read_bytes() == bytes([60]) * 1000


def truncate(folder: Path) -> None:
    os.truncate(folder / "learner.pt", 120)


def flip(folder: Path) -> None:
    whole = bytearray((folder / "learner.pt").read_bytes())
    whole[500] ^= 1
    (folder / "learner.pt").write_bytes(whole)


def edit(folder: Path) -> None:
    loop = json.loads((folder / "loop.json").read_text())
    loop["state"]["beta"] = 0.25
    (folder / "loop.json").write_text(json.dumps(loop))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "learner.pt is 120 bytes, not 1,000": truncate,
    "learner.pt is missing": lambda folder: (folder / "learner.pt").unlink(),
    "learner.pt is not what was written": flip,
    "loop.json is missing": lambda folder: (folder / "loop.json").unlink(),
    "loop.json cannot be read": lambda folder: os.truncate(folder / "loop.json", 0),
    "loop.json is not what was written": edit,
}


@pytest.mark.parametrize("said", DAMAGE)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path: Path, said: str) -> None:
    saved(tmp_path, 20, 40)
    DAMAGE[said](tmp_path / "update-000040")
    checkpoints = again(tmp_path)
    found = checkpoints.latest(START)
    going_on = "going on from the checkpoint of update 20"
    assert found.note == f"the checkpoint of update 40 is damaged ({said}); {going_on}"
    assert found.update == 20 and found.folder == tmp_path / "update-000020"
    checkpoints.save(40, {"beta": 4.0}, learner(40))  # over the damaged one, and update 20 stays
    assert names(tmp_path) == ["update-000020", "update-000040"]
    assert again(tmp_path).latest(START).update == 40


def test_where_both_are_damaged_both_are_named_and_training_begins_anew(tmp_path: Path) -> None:
    saved(tmp_path, 20, 40)
    truncate(tmp_path / "update-000040")
    edit(tmp_path / "update-000020")
    found = again(tmp_path).latest(START)
    assert (found.update, found.state, found.folder) == (0, START, None)
    for said in ("update 40 is damaged (learner.pt", "update 20 is damaged (loop.json", "training begins anew"):
        assert said in found.note


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Checkpoints(Path(), "rloo", LINEAGE), "is of ppo, not rloo"),
        (Checkpoints(Path(), "ppo", Lineage("other", LINEAGE.parents)), "is of other settings or inputs"),
        (Checkpoints(Path(), "ppo", Lineage("config", {"parent": "new"})), "is of other settings or inputs"),
    ],
)
def test_one_of_something_else_is_not_used_and_makes_room(tmp_path: Path, other: Checkpoints, said: str) -> None:
    saved(tmp_path, 20, 40)
    now = Checkpoints(tmp_path, other.algorithm, other.lineage)
    found = now.latest(START)
    assert found.update == 0 and f"the checkpoint of update 40 {said}" in found.note
    now.save(5, START, learner(5))  # a lower number than those of the other training
    assert names(tmp_path) == ["update-000005"]


def test_other_state_than_the_algorithms_is_not_used(tmp_path: Path) -> None:
    saved(tmp_path, 20)
    assert again(tmp_path).latest({"beta": 0.5, "multiplier": 1.0}).update == 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_state_that_is_no_number_is_not_saved(tmp_path: Path, wrong: float) -> None:
    checkpoints = saved(tmp_path, 20)
    with pytest.raises(NotFinite, match=r"beta is (nan|inf) after update 40"):
        checkpoints.save(40, {"beta": wrong}, learner(40))
    assert names(tmp_path) == ["update-000020"]


def dies_at(operation: int, folder: Path) -> bool:
    """A process that saves the updates 2, 3 and 4 beside a good update 1 and kills itself before an operation on files
    of that folder, the first one being 1; whether it came so far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open", "os.chmod")
            if changes and (str(folder) in str(arguments[0]) or event in ("os.remove", "os.rmdir")):
                seen += 1
                if seen == operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        checkpoints = again(folder)
        checkpoints.latest(START)
        sys.addaudithook(count)
        for update in (2, 3, 4):
            checkpoints.save(update, START, learner(update))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_any_operation_of_a_save_the_last_good_one_or_the_new_one_is_there(tmp_path: Path) -> None:
    found, operation = [], 0
    while True:
        operation += 1
        folder = tmp_path / str(operation)
        saved(folder, 1)
        if not dies_at(operation, folder):
            break
        checkpoints = again(folder)
        resumed = checkpoints.latest(START)
        assert resumed.folder is not None and "damaged" not in resumed.note
        assert (resumed.folder / "learner.pt").read_bytes() == bytes([resumed.update]) * 1000
        found.append(resumed.update)
        assert len([name for name in names(folder) if name.startswith("update-")]) <= 2
        checkpoints.save(9, START, learner(9))  # what the killed one left goes
        assert names(folder) == sorted([f"update-{resumed.update:06d}", "update-000009"])
    assert found == sorted(found) and set(found) == {1, 2, 3}  # the rename that ends a save is its last operation
    assert len(found) > 20  # operations of three saves
