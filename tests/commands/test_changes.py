"""`rlaif constitution diff`: what is asked, what flips and through what, with a critic whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.changes import ConstitutionDiff
from rlaif.records.files import read_json, read_rows
from rlaif.records.label import Label
from tests.commandline import Done, rlaif
from tests.commands import readers

READS = "scripted:tests.commands.readers:reads"
LONGER = "scripted:rlaif.testing.scripts:prefers_longer"
WORDS = [f"w{n}" for n in range(16)]


def constitution(path: Path, *principles: str, axes: str = "x: {kind: reward}", more: str = "") -> None:
    """Principles as `id: text`, perhaps with more keys after `;`."""
    rows = []
    for one in principles:
        (name, text), *keys = (part.split(": ", 1) for part in one.split("; "))
        given = {"id": name, "prefer": text, "axis": "x", **dict(keys)}
        rows.append("  - " + "\n    ".join(f"{k}: {v if k != 'prefer' else repr(v)}" for k, v in given.items()) + "\n")
    path.write_text(f"name: {path.stem}\n{more}axes: {{{axes}}}\nprinciples:\n{''.join(rows)}")


def says(word: str) -> str:
    return f'Choose the response that says "{word}".'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pairs: jam against tea, tea against jam, and neither."""
    texts = [["jam here", "tea here"], ["tea there", "jam there"], ["this", "that"]]
    rows = [{"id": f"p{n}", "prompt": f"question {n}", "responses": texts[n]} for n in range(3)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    constitution(tmp_path / "a.yaml", f"likes: {says('jam')}", f"other: {says('soup')}")
    return tmp_path


def diff(folder: Path, *arguments: str, critic: str = READS, pairs: bool = True) -> Done:
    readers.ASKED.clear()
    given = ("--pairs", "pairs.jsonl") if pairs else ()
    return rlaif("constitution", "diff", "a.yaml", "b.yaml", *given, "--critic", critic, *arguments, cwd=folder)


def data(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def label(folder: Path, out: str, file: str = "a.yaml", *more: str) -> None:
    given = ("--constitution", file, "--pairs", "pairs.jsonl", "--critic", READS, "--out", out, *more)
    assert rlaif("label", *given, cwd=folder).returncode == 0


def test_one_changed_of_sixteen_asks_a_sixteenth(folder: Path) -> None:
    constitution(folder / "a.yaml", *(f"{w}: {says(w)}" for w in WORDS))
    constitution(folder / "b.yaml", *(f"{w}: {says('jam' if w == 'w7' else w)}" for w in WORDS))
    label(folder, "labels", "b.yaml")
    whole = len(readers.ASKED)
    label(folder, "a-labels", "a.yaml")
    found = data(diff(folder, "--labels", "a-labels", "--out", "out", "--json"))
    assert whole == 16 * 3 * 2 and len(readers.ASKED) == found["asked"] == whole // 16 == 6
    assert set(readers.ASKED) == {says("jam")}
    assert found["stored"] == 16 * 3 * 2  # the other fifteen, and w7 as it was
    assert found["same"] == 15
    # Without stored answers: the fifteen once, the other one in both wordings.
    assert data(diff(folder, "--json"))["asked"] == len(readers.ASKED) == 17 * 3 * 2
    # Those of a run under the other constitution do as well.
    assert data(diff(folder, "--labels", "labels", "--json"))["asked"] == 6


def test_flips_and_what_they_came_through(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('tea')}", f"other: {says('soup')}")
    found = data(diff(folder, "--json", "--out", "out"))
    own = found["measured"]
    # (0.9 + 0.5) / 2 on the first pair, 0.3 under b; the second the other way; the third is even under both.
    assert [(p["id"], p["a"], p["b"], p["flipped"], p["deciding"]) for p in own["changed"]] == [
        ("p0", pytest.approx(0.7), pytest.approx(0.3), True, "likes"),
        ("p1", pytest.approx(0.3), pytest.approx(0.7), True, "likes"),
    ]
    assert own["flipped"]["value"] == pytest.approx(2 / 3) and own["flipped"]["n"] == 3
    assert own["flipped"]["low"] == pytest.approx(0.208, abs=1e-3)  # Wilson's interval of 2 in 3
    assert own["shift"] == pytest.approx(0.8 / 3) and own["undecided"] == 1 and own["without"] == 0
    assert own["effects"] == [{"change": "likes", "decides": 2, "needed": 2, "shift": pytest.approx(0.8 / 3)}]
    saved = read_json(folder / "out" / "diff.json", ConstitutionDiff)
    assert saved.model_dump(mode="json") == {k: v for k, v in found.items() if k not in ("asked", "stored")}
    text = diff(folder, "--show", "1").stdout
    assert "flipped: 2 of 3, 66.7% [20.8%, 93.9%]; mean |ΔP| 0.267" in text
    assert "most changed (1 of 2)" in text and "through likes  p0  question 0" in text
    assert "p1" not in text and "likes: changed, prefer reworded (asked anew)" in text


def test_each_flip_goes_to_the_change_that_moves_it_most(folder: Path) -> None:
    """Undoing `likes` alone gives (0.9 + 0.4) / 2 on the first pair, undoing `other` alone (0.1 + 0.5) / 2."""
    constitution(folder / "b.yaml", f"likes: {says('tea')}", 'other: Choose a little of "tea".', 'new: Choose "x".')
    own = data(diff(folder, "--json"))["measured"]
    first = own["changed"][0]
    assert (first["id"], first["a"], first["b"]) == ("p0", pytest.approx(0.7), pytest.approx(1 / 3))
    effects = {e["change"]: (e["decides"], e["needed"], e["shift"]) for e in own["effects"]}
    # With likes undone 0.6 and 0.4: both flips gone. With other or new undone the same response still wins.
    assert effects["likes"] == (2, 2, pytest.approx(2 * (0.6 - 1 / 3) / 3))
    assert effects["other"] == (0, 0, pytest.approx(2 * (1.1 / 3 - 1 / 3) / 3))
    assert effects["new"] == (0, 0, pytest.approx(2 * (1 / 3 - 0.25) / 3))


def test_weights_and_axes_cost_no_call(folder: Path) -> None:
    two = "x: {kind: reward}, y: {kind: cost}"
    constitution(folder / "a.yaml", f"likes: {says('jam')}", f"rival: {says('tea')}; axis: y; weight: 3", axes=two)
    heavy = "x: {kind: reward, weight: 8}, y: {kind: cost, limit: 1}"
    constitution(folder / "b.yaml", f"likes: {says('jam')}", f"rival: {says('tea')}; axis: y", axes=heavy)
    label(folder, "labels")
    found = data(diff(folder, "--labels", "labels", "--json"))
    assert readers.ASKED == [] and found["asked"] == 0 and found["stored"] == 12
    changes = {(c["what"], c["id"]): c for c in found["changes"]}
    assert changes["principle", "rival"]["details"] == ["weight 3.0 → 1.0"]
    assert changes["axis", "x"]["details"] == ["weight 1.0 → 8.0"] and changes["axis", "x"]["relabels"]
    assert changes["axis", "y"]["details"] == ["limit 0.0 → 1.0"] and not changes["axis", "y"]["relabels"]
    own = found["measured"]
    # a: (0.9 + 3 * 0.1) / 4; b: (8 * 0.9 + 0.1) / 9. Undone: weight of x (0.9 + 0.1) / 2; of rival (7.2 + 0.3) / 11.
    assert own["changed"][0]["a"] == pytest.approx(0.3) and own["changed"][0]["b"] == pytest.approx(7.3 / 9)
    assert own["changed"][0]["deciding"] == "axis x"
    needed = {e["change"]: (e["needed"], e["shift"]) for e in own["effects"]}
    assert needed["axis x"] == (2, pytest.approx(2 * (7.3 / 9 - 0.5) / 3))
    assert needed["rival"] == (0, pytest.approx(2 * (7.3 / 9 - 7.5 / 11) / 3))


def test_labels_are_those_that_the_folder_holds(folder: Path) -> None:
    """Its mode and temperature are kept, and its pairs are the default."""
    constitution(folder / "b.yaml", f"likes: {says('tea')}")
    label(folder, "labels", "a.yaml", "--mode", "score", "--set", "temperature=2")
    stored = [x.p for x in read_rows(folder / "labels" / "labels.jsonl", Label, "labels")]
    before = (folder / "labels" / "labels.jsonl").read_bytes()
    found = data(diff(folder, "--labels", "labels", "--json", pairs=False))
    assert len(readers.ASKED) == 2 * 3 and set(readers.ASKED) == {says("tea")}
    assert {p["id"]: p["a"] for p in found["measured"]["changed"]} == dict(zip(("p0", "p1"), stored[:2], strict=True))
    assert (folder / "labels" / "labels.jsonl").read_bytes() == before
    assert data(diff(folder, "--labels", "labels", "--json", pairs=False))["asked"] == 0  # the answers went there
    other = diff(folder, "--labels", "labels", "--json", "--out", "out", critic=LONGER, pairs=False)
    assert "another critic's" in other.stderr


def test_a_failure_is_no_flip(folder: Path) -> None:
    constitution(folder / "a.yaml", f"likes: {says('jam')}")
    constitution(folder / "b.yaml", "likes: Choose and fail.")
    own = data(diff(folder, "--max-failure-rate", "0.6", "--json"))["measured"]
    assert (own["pairs"], own["without"], own["flipped"]["n"]) == (3, 3, 0)
    assert own["flipped"]["value"] is None and own["shift"] is None and own["changed"] == []
    assert own["effects"] == [{"change": "likes", "decides": 0, "needed": 0, "shift": None}]
    assert "– (no pair has a label under both)" in diff(folder, "--max-failure-rate", "0.6").stdout
    stopped = diff(folder, "--out", "out")
    assert stopped.returncode == 3 and "planted failure" in stopped.stderr
    assert not (folder / "out" / "diff.json").exists()


def test_what_changes_no_label_asks_nothing(folder: Path) -> None:
    constitution(folder / "b.yaml", f"renamed: {says('jam')}", f"other: {says('soup')}; paraphrases: [Soup.]")
    found = data(diff(folder, "--json"))
    assert readers.ASKED == [] and found["measured"] is None and found["same"] == 0
    renamed, other = found["changes"]
    assert (renamed["kind"], renamed["before"], renamed["details"]) == ("renamed", "likes", ["was likes"])
    assert (other["details"], other["asks"], other["relabels"]) == (["paraphrases reworded"], False, False)
    (folder / "b.yaml").write_text((folder / "a.yaml").read_text())
    text = diff(folder).stdout
    assert "changes: 0, principles that are the same: 2" in text and "nothing was asked" in text


def test_added_removed_and_translated_principles(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('jam')}", f"new: {says('jam')}")
    found = data(diff(folder, "--json"))
    kinds = {c["id"]: (c["kind"], c["asks"]) for c in found["changes"]}
    assert kinds == {"new": ("added", False), "other": ("removed", False)}  # in words that are asked already
    assert len(readers.ASKED) == 2 * 3 * 2
    effects = {e["change"]: e["shift"] for e in found["measured"]["effects"]}
    # b: 0.9. Without new 0.9; with other (0.9 + 0.9 + 0.5) / 3.
    assert effects == {"new": pytest.approx(0), "other": pytest.approx(2 * (0.9 - 2.3 / 3) / 3)}
    constitution(folder / "b.yaml", f"likes: {says('jam')}", f"other: {says('soup')}", more="language: zh\n")
    changes = data(diff(folder, "--json", "--max-failure-rate", "1"))["changes"]
    assert [(c["asks"], c["details"]) for c in changes] == [(True, ["in another language"])] * 2


def test_the_same_command_asks_nothing_again(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('tea')}")
    first = diff(folder, "--out", "out", "--json")
    written = (folder / "out" / "diff.json").read_bytes()
    again = data(diff(folder, "--out", "out", "--json"))
    assert readers.ASKED == [] and again["measured"] == data(first)["measured"]
    assert (folder / "out" / "diff.json").read_bytes() == written
    assert sorted(p.name for p in folder.iterdir()) == ["a.yaml", "b.yaml", "out", "pairs.jsonl"]


def test_bad_input(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('tea')}")
    (folder / "empty.jsonl").write_text("")
    (folder / "plain").mkdir()
    for done, words in (
        (diff(folder, pairs=False), "--labels DIR"),
        (diff(folder, "--pairs", "nope.jsonl", pairs=False), "nope.jsonl"),
        (diff(folder, "--pairs", "empty.jsonl", pairs=False), "this file is empty"),
        (diff(folder, "--labels", "plain"), "plain: this folder holds no labels"),
        (diff(folder, "--out", "out", critic="vlm:x"), "unknown engine 'vlm'"),
        (diff(folder, "--out", "pairs.jsonl"), "this is a file"),
    ):
        assert done.returncode == 2 and words in done.stderr and "Fix:" in done.stderr and done.stdout == ""
    label(folder, "labels")
    (folder / "labels" / "answers.sqlite").unlink()
    assert "no stored answers" in diff(folder, "--labels", "labels").stderr
    (folder / "b.yaml").unlink()
    missing = diff(folder)
    assert missing.returncode == 2 and "b.yaml" in missing.stderr
    assert not (folder / "out").exists()


def test_without_pairs_the_texts_alone_are_compared_and_nobody_is_asked(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('tea')}", f"other: {says('soup')}")
    readers.ASKED.clear()
    done = rlaif("constitution", "diff", "a.yaml", "b.yaml", "--out", "d", cwd=folder)
    assert done.returncode == 0 and not readers.ASKED
    assert "likes: changed, prefer reworded" in done.stdout and "--labels DIR, or --pairs FILE" in done.stdout
    kept = read_json(folder / "d" / "diff.json", ConstitutionDiff)
    assert (kept.critic, kept.measured, kept.same) == (None, None, 1)


def test_the_critic_of_the_labels_judges_where_none_is_named(folder: Path) -> None:
    constitution(folder / "b.yaml", f"likes: {says('tea')}", f"other: {says('soup')}")
    label(folder, "labels")
    done = rlaif("constitution", "diff", "a.yaml", "b.yaml", "--labels", "labels", "--json", cwd=folder)
    assert data(done)["critic"] == READS and data(done)["measured"]["pairs"] == 3
    label(folder, "two", "a.yaml", "--critic", LONGER)
    for given, words in ((("--labels", "two"), "several critics"), (("--pairs", "pairs.jsonl"), "who judges")):
        done = rlaif("constitution", "diff", "a.yaml", "b.yaml", *given, cwd=folder)
        assert done.returncode == 2 and words in done.stderr and "--critic ENGINE:MODEL" in done.stderr
