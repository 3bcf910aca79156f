"""The command line as a person meets it: its streams and exit codes. In this process for speed, and once for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif.cli import app
from rlaif.cli.overview import SECTIONS
from tests.commandline import Done, rlaif

PAIR = '{"id": "a", "prompt": "Hello?", "responses": ["Hi there, my friend.", "Go away."]}\n'
LONGER = "scripted:rlaif.testing.scripts:prefers_longer"
ROOT = Path(__file__).resolve().parent.parent


def label(
    folder: Path, *more: str, pairs: str = "pairs.jsonl", constitution: str = "hhh", critic: str = LONGER
) -> Done:
    return rlaif(
        *("label", "--constitution", constitution, "--pairs", pairs, "--critic", critic, "--out", "out", *more),
        cwd=folder,
    )


def refused(done: Done, *words: str) -> None:
    """Exit code 2, one message with its fix, nothing on standard output, no traceback."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in (*words, "Fix:"):
        assert word in done.stderr


def test_label_and_label_again(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    first = label(tmp_path, "--json")
    assert first.returncode == 0, first.stderr
    data = json.loads(first.stdout)
    assert (data["count"], data["labelled"], data["judgements"], data["failed_judgements"]) == (1, 1, 2, 0)
    again = label(tmp_path, "--json")
    assert "cached 2" in again.stderr
    assert json.loads(again.stdout) == data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("pairs.jsonl", "empty")),
        (PAIR + '{"prompt": "q", "resp', ("pairs.jsonl:2", "not valid JSON")),
        ('{"prompt": "q", "responses": ["one"]}', ("pairs.jsonl:1", "responses", "two responses or more")),
    ],
)
def test_bad_pairs(tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
    (tmp_path / "pairs.jsonl").write_text(content)
    refused(label(tmp_path), *words)
    assert not (tmp_path / "out").exists()  # nothing half-written


def test_bad_paths_and_names(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    refused(label(tmp_path, pairs="nope.jsonl"), "nope.jsonl", "no such file")
    refused(label(tmp_path, constitution="harmles"), "harmles", "harmless")
    refused(label(tmp_path, constitution="./nope.yaml"), "nope.yaml")
    refused(label(tmp_path, critic="vlm:tinyworld/critic"), "unknown engine 'vlm'", "did you mean 'vllm'")
    refused(label(tmp_path, critic="hf:./nothing"), "no model folder")
    refused(label(tmp_path, critic="scripted:nope:nope"), "cannot load")
    refused(rlaif("run", "nope.yaml", cwd=tmp_path), "nope.yaml")
    refused(rlaif("label", cwd=tmp_path), "--constitution")
    refused(rlaif("reward", "--backbone", "tinyworld/policy", "--out", "x", cwd=tmp_path), "--labels")
    refused(rlaif("constitution", "show", "hhh", "--principle", "nope", cwd=tmp_path), "helpful-honest-harmless")


def test_relabel_and_why(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    assert label(tmp_path).returncode == 0
    again = rlaif("relabel", "out", "--out", "new", "--set", "temperature=2", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (json.loads(again.stdout)["judgements"], json.loads(again.stdout)["labelled"]) == (2, 1)
    (row,) = (tmp_path / "new" / "labels.jsonl").read_text().splitlines()[1:]
    assert json.loads(row)["p"] == pytest.approx(0.75)  # logit .9 = ln 9, half of it ln 3
    shown = rlaif("why", "a", "--in", "out", "--json", cwd=tmp_path)
    entries = json.loads(shown.stdout)["judgements"]
    assert [e["exact"] for e in entries] == [True, True]
    assert "Go away." in entries[0]["messages"][1]["content"]
    assert "P(first is better) = 0.9000" in rlaif("why", "a", "--in", "out", cwd=tmp_path).stdout


def test_relabel_and_why_refuse_what_they_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    assert label(tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")}
    refused(rlaif("relabel", "nowhere", cwd=tmp_path), "nowhere", "no such folder")
    assert not (tmp_path / "nowhere").exists()
    refused(rlaif("relabel", ".", cwd=tmp_path), "holds no labels")
    refused(rlaif("relabel", "pairs.jsonl", cwd=tmp_path), "pairs.jsonl")
    for bad, words in (
        ("temperature=0", ("temperature", "greater than 0")),
        ("temperatur=2", ("temperatur",)),
        ("abstain=[0.6,0.7]", ("abstain", "0.5")),
        ("abstain=[0.4]", ("abstain", "too short", "at least 2 items")),
        ("abstain=[0.4, 0.5, 0.6]", ("abstain",)),
        ("mode=cot", ("mode",)),  # would have to be asked
        ("temperature", ("KEY=VALUE",)),
        ("critic_weights.x=-1", ("positive",)),
    ):
        refused(rlaif("relabel", "out", "--set", bad, cwd=tmp_path), *words)
    refused(rlaif("relabel", "out", "--constitution", "harmless", cwd=tmp_path), "none of these principles")
    refused(rlaif("relabel", "out", "--constitution", "./nope.yaml", cwd=tmp_path), "nope.yaml")
    refused(rlaif("why", "b", "--in", "out", cwd=tmp_path), "'b'", "labels.jsonl")
    refused(rlaif("why", "a", cwd=tmp_path), "holds no labels")
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")} == before
    (tmp_path / "out" / "labelling.json").write_text("{}")
    refused(rlaif("relabel", "out", cwd=tmp_path), "labelling.json", "damaged")
    refused(rlaif("why", "a", "--in", "out", cwd=tmp_path), "labelling.json", "damaged")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--mode", "guess"), ("mode", "guess")),
        (("--canaries", "2"), ("canaries",)),
        (("--set", "clamp=[0.6,0.7]"), ("clamp", "0.5")),
        (("--set", "samples=0"), ("samples",)),
        (("--escalate", "vlm:x"), ("--escalate", "unknown engine 'vlm'")),
        (("--critic", "vlm:x"), ("--critic", "unknown engine 'vlm'")),
        (("--max-cost", "1"), ("price",)),
        (("--price", "cheap", "--max-cost", "1"), ("--price", "cheap")),
    ],
)
def test_bad_labelling_options(tmp_path: Path, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    refused(label(tmp_path, *more), *words)
    assert not (tmp_path / "out" / "labels.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nnme: y\n", ("c.yaml:2", "nme")),
        ("name: x\nname: y\n", ("c.yaml:2", "name")),
        ("name: !!python/object/apply:os.system ['true']\n", ("c.yaml:1", "tag")),
        ("a: &a [x]\nb: *a\n", ("c.yaml:1", "anchor")),
        ("name: [unclosed\n", ("c.yaml",)),
        ("", ("c.yaml", "empty")),
        (
            "name: x\naxes: {a: {kind: reward}}\nprinciples:\n- {id: p, axis: b, prefer: Choose x.}\n",
            ("c.yaml:4", "'b'"),
        ),
    ],
)
def test_hostile_constitutions(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    (tmp_path / "c.yaml").write_text(text)
    refused(label(tmp_path, constitution="c.yaml"), *words)
    assert not (tmp_path / "out").exists()


def test_too_many_failures_stop_the_stage_and_lose_nothing(tmp_path: Path) -> None:
    rows = "".join(PAIR.replace('"a"', f'"{i}"').replace("Hi", f"Hi {i}") for i in range(9))
    (tmp_path / "pairs.jsonl").write_text(rows)
    done = label(tmp_path, critic="scripted:rlaif.testing.scripts:fails_every_third")
    assert done.returncode == 3, done.stderr
    assert "failed" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out" / "answers.sqlite").exists()
    assert not (tmp_path / "out" / "labels.jsonl").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    from rlaif.records.run_folder import RunFolder

    (tmp_path / "pairs.jsonl").write_text(PAIR)
    held = RunFolder(tmp_path / "out", "label")
    refused(label(tmp_path), "another rlaif process")
    held.close()


def test_lint_exit_codes(tmp_path: Path) -> None:
    clean = rlaif("constitution", "lint", "harmless", "--json", cwd=tmp_path)
    assert clean.returncode == 0 and json.loads(clean.stdout)["findings"] == []
    (tmp_path / "c.yaml").write_text("name: x\nnme: y\n")
    bad = rlaif("constitution", "lint", "c.yaml", "--json", cwd=tmp_path)
    assert bad.returncode == 2
    assert any(f["line"] == 2 for f in json.loads(bad.stdout)["findings"])


def test_show_prints_what_the_critic_reads(tmp_path: Path) -> None:
    shown = json.loads(rlaif("constitution", "show", "hhh", "--json", cwd=tmp_path).stdout)["prompts"]
    assert [s["order"] for s in shown] == ["ab", "ba"]
    assert "Answer with A or B." in shown[0]["messages"][1]["content"]


def test_critic_test(tmp_path: Path) -> None:
    row = '{"prompt": "q", "chosen": "a longer reply", "rejected": "short"}\n'
    (tmp_path / "gold.jsonl").write_text(row + row.replace("a longer", "another longer"))
    done = rlaif("critic", "test", "--critic", LONGER, "--data", "gold.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(done.stdout)["critics"]
    found = measured["agreement"]
    assert found["accuracy"]["value"] == 1.0 and found["swap_consistency"]["value"] == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["gold.jsonl"]


def test_escape_sequences_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = label(tmp_path, pairs="evil\x1b[2J\u202e.jsonl")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr


def test_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlaif", "label", "--constitution", "nope"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_the_help_has_every_command_once_on_a_line_of_its_own(tmp_path: Path) -> None:
    import typer

    listed = [name for section in SECTIONS.values() for name in section]
    assert sorted(listed) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    lines = rlaif("--help", cwd=tmp_path).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name, text in ((name, text) for section in SECTIONS.values() for name, text in section.items()):
        assert any(line.split(maxsplit=1) == [name, text] for line in lines), name
    lines = rlaif("constitution", "--help", cwd=tmp_path).stdout.splitlines()
    assert not any(line.endswith("...") for line in lines[1:])


def test_help_and_version(tmp_path: Path) -> None:
    assert "quickstart" in rlaif("--help", cwd=tmp_path).stdout
    assert rlaif("--version", cwd=tmp_path).stdout.strip().count(".") == 2
    assert rlaif("frobnicate", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("shell", "words", "offered"),
    [
        ("bash", "rlaif qu", "quickstart\n"),
        ("bash", "rlaif run tinyworld.yaml --fr", "--fresh\n"),
        ("zsh", "rlaif labels aud", '(("audit":"Measure labels'),
    ],
)
def test_completion_offers_words_and_loads_little(shell: str, words: str, offered: str) -> None:
    program = "import sys; sys.argv = ['rlaif']; from rlaif.cli import main; main()"
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_TYPER_COMPLETE_ARGS": words}
    environment = {**os.environ, **typed, "_RLAIF_COMPLETE": f"complete_{shell}"}
    command = [sys.executable, "-X", "importtime", "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and offered in done.stdout
    assert "typer.completion" in done.stderr
    assert not [name for name in ("pydantic_core", "rich.console", "torch") if name in done.stderr]


def test_a_reader_that_leaves_is_no_defect(tmp_path: Path) -> None:
    reader = "true"  # is gone before the first line comes
    program = f"{sys.executable} -m rlaif constitution show harmless | {reader}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "141\n" and "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_character(encoding: str) -> None:
    command = [sys.executable, "-m", "rlaif", "constitution", "show", "helpful-zh"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert b"\\u539f" in done.stdout
