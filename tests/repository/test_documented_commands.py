"""Every command in the documents exists, with every option; the quick ones run, the others are listed with reasons.

Models are stood in for by a script, data by a few rows: what is held is that the commands are the real ones and go
through in the order of the page. What real models make of them is held by the tests of the commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from rlaif import cli
from rlaif.commands import summary
from rlaif.critique.readback import shown
from rlaif.records import shipped
from rlaif.records.prompt import Message
from tests import documented
from tests.commandline import rlaif
from tests.documented import PAGES, ROOT, Line

ALL = [line for page in PAGES for line in documented.lines(page)]
OURS = [line for line in ALL if line.arguments]
TOP = typer.main.get_command(cli.app)
STAND_IN = f"scripted:{__name__}:stand_in"
FOLDERS = {"examples", "benchmarks", "prompts", "constitutions", "tests", "rlaif"}

# Why a command is not run here. Each is a pattern of the whole line.
LEFT_OUT = {
    r"^(torchrun|accelerate) ": "several processes: tests/pipeline/test_processes.py",
    r"^HF_TOKEN=|^rlaif push ": "sends to the Hub: tests/commands/test_push.py has one on loopback",
    r"rlaif (run|quickstart|policy|cost|reward)\b": "trains models: tests/pipeline and tests/stages",
    r"rlaif reward-credit ": "needs a trained reward model: tests/commands/test_credit.py",
    r"rlaif doctor": "loads every engine: tests/commands/test_doctor.py",
    r"rlaif estimate ": "reads tokenizers, for seconds: tests/commands/test_estimate.py",
    r"rlaif (evaluate|gap|tune-decoding) ": "loads models: tests/commands",
    r"\bruns/\w+": "needs a finished run: the tests of the command make one",
    r"rlaif report ": "the same",
    r"--principle truthful": "the page adds that principle by hand: tests/commands/test_trials.py",
    r"guide-(before|after)": "asks the tiny critic: tests/commands/test_guide.py",
    r"constitution import ": "needs published files: tests/commands/test_import.py",
}
GIVEN = {
    "FILE": "mine.yaml",
    "OLD": "old.yaml",
    "NEW": "mine.yaml",
    "DIR": "labels",
    "PAIRS": "pairs.jsonl",
    "N": "3",
}  # for words that stand for others
DATA_FLAGS = {"--pairs", "--data", "--gold"}


def stand_in(messages: Sequence[Message], options: tuple[str, ...] | None) -> list[float] | str:
    """Prefers the longer response, scores everything 5 or 6, says no to every check, and writes one sentence."""
    if options is None:
        return "I am happy to help with that."
    if len(options) != 2:
        return [0.9 / 2 if option in ("5", "6") else 0.01 for option in options]
    try:
        pair = shown(messages)
    except ValueError:
        return [0.3, 0.7]
    return [0.8, 0.2] if len(pair.a) > len(pair.b) else [0.2, 0.8]


def command_of(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The registered command that the words name, and what is left of them. Fails where there is none."""
    found, rest = TOP, list(arguments)
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, f"there is no command `rlaif {' '.join(arguments)}`"
        found = found.commands[rest.pop(0)]
    return found, rest


def faults(line: Line) -> list[str]:
    """What the command line itself would refuse of a line: unknown options, missing or superfluous arguments."""
    command, rest = command_of(line.arguments)
    if hasattr(command, "commands"):
        return [] if set(rest) <= {"--help", "--version"} else [f"{line}: names no command"]
    context = command.context_class(command, info_name="rlaif")
    try:
        given, extra, _ = command.make_parser(context).parse_args(rest)
    except Exception as error:  # the class is typer's own copy of click's
        return [f"{line.page}: {line.text}: {type(error).__name__} {error}"]
    missing = [p.name for p in command.params if p.required and not given.get(p.name)]
    return [f"{line.page}: {line.text}: {what}" for what in (*extra, *missing)]


def reason(line: Line) -> str | None:
    return next((why for pattern, why in LEFT_OUT.items() if re.search(pattern, line.text)), None)


def test_commands_are_found_in_the_documents() -> None:
    pages = Counter(line.page for line in OURS)
    assert len(OURS) > 100 and len(pages) > 20, pages
    assert any(line.page == "README.zh.md" for line in OURS)


def test_every_command_and_option_exists() -> None:
    assert not [fault for line in OURS for fault in faults(line)]


def test_options_within_sentences_exist() -> None:
    wrong = []
    for line in (line for page in PAGES for line in documented.inline(page)):
        names = line.arguments
        if names[0].isupper() or "|" in names[0]:  # `rlaif STAGE RUN.yaml`
            continue
        command, rest = command_of([w for w in names if w != "..."])
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
        wrong += [f"{line.page}: {line.text}: {w}" for w in rest if w.startswith("--") and w not in known]
    assert not wrong


def test_what_is_no_option_is_noticed() -> None:
    given = ("rlaif", "label", "--constitutoin", "hhh"), ("rlaif", "why", "1", "2"), ("rlaif", "why")
    assert all(faults(Line("x", words)) for words in given)
    with pytest.raises(AssertionError, match="no command"):
        faults(Line("x", ("rlaif", "lable")))


def test_files_and_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    missing = []
    for line in ALL:
        for word in line.words:
            path = word.partition("=")[2] or word
            if path.split("/")[0] in FOLDERS and "/" in path and "." in path and not (ROOT / path).exists():
                missing.append(f"{line.page}: {word}")
        if line.words[0] == "make" and not set(line.words[1:]) <= targets:
            missing.append(f"{line.page}: {line.text}")
    assert not missing


def test_every_reason_is_used() -> None:
    assert not [pattern for pattern in LEFT_OUT if not any(re.search(pattern, line.text) for line in OURS)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: pairs in the shapes that they name, two constitutions, and the examples."""
    folder = tmp_path_factory.mktemp("desk")
    rows = [
        {"prompt": f"How do I bake bread, part {i}?", "responses": ["Mix flour and water.", "No."], "preferred": i % 2}
        for i in range(8)
    ]
    chosen = [{"prompt": row["prompt"], "chosen": "Mix.", "rejected": "No, never."} for row in rows]
    turns = [f"\n\nHuman: Question {i}?\n\nAssistant: " for i in range(8)]
    data: dict[str, list[dict[str, Any]]] = {
        "pairs.jsonl": rows,
        "tinyworld.jsonl": rows,
        "hhh-evaluations.jsonl": rows,
        "human-choices.jsonl": chosen,
        "harmless-base.jsonl": [{"chosen": f"{turn}Yes.", "rejected": f"{turn}No, no."} for turn in turns],
        "marks.jsonl": [{"prompt": "A?", "text": text, "label": text == "Yes."} for text in ("Yes.", "No.")],
        "answers.jsonl": [{"prompt": "1 + 1?", "responses": ["It is 2", "Surely 2", "Perhaps 3"]}],
    }
    for name, own in data.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in own))
    for name in ("mine.yaml", "old.yaml"):
        shutil.copy(shipped.folder("constitutions") / "hhh.yaml", folder / name)
    for name in ("examples", "prompts"):
        os.symlink(ROOT / name, folder / name)
    return folder


def prepared(line: Line) -> list[str]:
    """The arguments with a script for every model, and a file for every word that stands for one."""
    words, before = [], ""
    for word in line.arguments:
        if before in ("--critic", "--escalate"):
            word = STAND_IN if not word.startswith("scripted:") else word
        elif before in DATA_FLAGS and word in GIVEN:
            word = "pairs.jsonl"
        words.append(GIVEN.get(word, word.replace("openai:critic", STAND_IN)))
        before = word
    if words.count(STAND_IN) > 1:  # a critic is named once
        words[words.index(STAND_IN)] = "scripted:rlaif.testing.scripts:prefers_longer"
    if "--limit" not in words and words[:2] in (["label", "--constitution"], ["critic", "attack"]):
        words += ["--limit", "8"]
    return words


@pytest.mark.parametrize("page", sorted({line.page for line in OURS if not reason(line)} - {"README.zh.md"}))
def test_the_quick_ones_run_in_their_order(page: str, desk: Path, tmp_path: Path) -> None:
    """Exit code 3 is an answer, too: the stand-in fails tests and gates, as it may."""
    cwd = tmp_path / "here"
    shutil.copytree(desk, cwd, symlinks=True)
    for line in dict.fromkeys(line for line in ALL if line.page == page):
        if line.words[0] == "cd":
            cwd = cwd / line.words[1]
        if not line.arguments or reason(line):
            continue
        done = rlaif(*prepared(line), cwd=cwd)
        assert done.returncode in (0, 3), f"{line.text}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"


def test_what_a_finished_run_names_next_goes_through_on_pairs_of_ones_own(desk: Path) -> None:
    text = summary.following(Path("runs/x"), "tinyworld", "vllm:tinyworld/critic")
    card, label = (Line("run", tuple(shlex.split(line)[1:])) for line in text.splitlines()[:2])
    assert faults(card) == faults(label) == []
    words = ["pairs.jsonl" if word == "FILE" else word for word in prepared(label)]
    done = rlaif(*words, cwd=desk)
    assert done.returncode == 0, done.stderr


def test_both_readmes_name_the_same_commands_and_pages() -> None:
    english, chinese = documented.READMES
    assert [line.words for line in documented.lines(english)] == [line.words for line in documented.lines(chinese)]
    linked = [re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")) for page in documented.READMES]
    assert Counter(linked[0]) - Counter({"README.zh.md": 1}) == Counter(linked[1]) - Counter({"README.md": 1})
    codes = [re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")) for page in documented.READMES]
    assert set(codes[0]) == set(codes[1])


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere() -> None:
    nav = set(re.findall(r": ([a-z-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert nav == {page.name for page in (ROOT / "docs").glob("*.md")}
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("https://") and not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert not dead


def test_files_within_sentences_exist() -> None:
    """Of the tree, or of the package where the page says so (docs/papers.md)."""
    gone = []
    for page in PAGES:
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|sh))`", page.read_text(encoding="utf-8")):
            if not (ROOT / name).is_file() and not (page.name == "papers.md" and (ROOT / "rlaif" / name).is_file()):
                gone.append(f"{page.name}: {name}")
    assert not gone


def test_messages_that_the_symptoms_quote_are_those_of_the_code() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "rlaif").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a text over several lines
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+ [^`]+ [^`]+)`", row)]
    assert len(quoted) > 12
    assert not [text for text in quoted if any(part.strip() not in source for part in text.split("..."))]


def test_every_paper_that_is_cited_is_in_the_index() -> None:
    number = re.compile(r"(?:arXiv |abs/|\b)(\d{4}\.\d{5})\b")
    files = [*(ROOT / "rlaif").rglob("*.py"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    cited = {found for file in files for found in number.findall(file.read_text(encoding="utf-8"))}
    index = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
    assert len(cited) > 30
    assert not sorted(paper for paper in cited if f"abs/{paper})" not in index)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """`make docs` installs what it takes, and the set-up for development does not: skipped where that has not run."""
    pytest.importorskip("material", reason="mkdocs-material is not installed: make docs")
    given = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/index.html").is_file()
