"""What lint finds in planted constitutions. tests/repository/test_constitutions.py: nothing in the shipped ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.critique.lint import OPPOSITE, Finding, _gist, _jaccard, _surely_unlike, lint, render_text
from rlaif.records import shipped, strict_yaml
from rlaif.records.constitution import Principle

ROOT = Path(__file__).resolve().parents[2]
TEST = {"prompt": "Hi", "better": "Hello.", "worse": "Bah."}


def principle(id: str, prefer: str, axis: str = "good", **more: Any) -> dict[str, Any]:
    complete = {"critique": "Say what is wrong.", "revise": "Put it right.", "tests": [dict(TEST)]}
    return {"id": id, "axis": axis, "prefer": prefer, **complete, **more}


def write(folder: Path, principles: list[dict[str, Any]], **more: Any) -> Path:
    file = folder / "linted.yaml"
    data = {"name": "linted", "axes": {"good": {"kind": "reward"}}, "principles": principles, **more}
    file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def pair(folder: Path, first: str, second: str, axes: tuple[str, str] = ("good", "good")) -> list[Finding]:
    both = {"good": {"kind": "reward"}, "other": {"kind": "reward"}}
    principles = [principle("first", first, axes[0]), principle("second", second, axes[1])]
    return lint(write(folder, principles, axes={axis: both[axis] for axis in dict.fromkeys(axes)}))


def test_a_clean_file(tmp_path: Path) -> None:
    findings = lint(write(tmp_path, [principle("kind", "Choose the kinder response.")]))
    assert findings == [] and render_text(findings) == "errors: 0, warnings: 0"


def test_every_structural_fault_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, [principle("a", "x", "nowhere"), principle("a", "y")], extends=["./absent.yaml", "nobody"])
    findings = lint(file)
    assert codes(findings) == ["duplicate-id", "extends", "extends"]  # in the order of lines
    assert all(f.severity == "error" and f.file == str(file) and f.line and f.field and f.fix for f in findings)
    file = write(tmp_path, [principle("a", "x", "nowhere"), principle("b", "y", weight=0, vto=True)])
    assert [(f.code, f.field) for f in lint(file)] == [
        ("schema", "principles[1].weight"),
        ("schema", "principles[1].vto"),
    ]
    file = write(tmp_path, [principle("a", "x", "nowhere")])
    assert codes(lint(file)) == ["unknown-axis"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "yaml"),
        (b"\xff", "yaml"),
        (b"a: &a [x]\nb: [*a, *a]\n", "yaml"),
        (b"a: !!python/name:os.system\n", "yaml"),
        (b"name: x\n", "no-principles"),
        (b"name: 1\n", "schema"),
    ],
)
def test_hostile_files_are_findings_too(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    (finding,) = lint(file)
    assert (finding.severity, finding.code, finding.file, finding.line) == ("error", code, str(file), 1)
    assert (finding.column or 0) >= 1


def test_no_file_and_no_such_name(tmp_path: Path) -> None:
    assert codes(lint(tmp_path / "absent.yaml")) == ["yaml"]
    (finding,) = lint("nobody")
    assert finding.code == "not-found" and "harmless" in finding.fix


def test_missing_parts_of_a_principle(tmp_path: Path) -> None:
    bare = {"id": "bare", "axis": "good", "prefer": "Choose the kinder response."}
    findings = lint(write(tmp_path, [bare]))
    assert codes(findings) == ["no-test", "no-revision"]
    assert all(f.severity == "warning" and f.field == "principles[0]" and f.line == 6 for f in findings)
    assert "no critique and no revise" in findings[1].message
    (finding,) = lint(write(tmp_path, [{**bare, "tests": [TEST], "critique": "Why?"}]))
    assert "no revise," in finding.message and finding.fix.startswith("write `revise`")


def check(id: str, ask: str, **more: Any) -> dict[str, Any]:
    question = {"kind": "check", "ask": ask, "good": "no", "tests": [dict(TEST)]}
    return {"id": id, "axis": "good", "prefer": "Choose the kinder response.", **question, **more}


def test_a_check_needs_no_revision_but_not_half_of_one(tmp_path: Path) -> None:
    assert lint(write(tmp_path, [check("rude", "Is the response rude?")])) == []
    assert codes(lint(write(tmp_path, [check("rude", "Is the response rude?", critique="Why?")]))) == ["no-revision"]


def test_of_a_check_the_question_is_read(tmp_path: Path) -> None:
    rude = check("rude", "Is the response rude to the user?")
    # The same wish asked as a sign and as a ranking is what Safe RLHF does; `prefer` of a check is read by no critic.
    assert (
        lint(
            write(
                tmp_path,
                [principle("kind", "Pick the one rude to the user."), rude, check("late", "Does it come late?")],
            )
        )
        == []
    )
    (finding,) = lint(write(tmp_path, [rude, check("again", "Is the reply rude to the user?", prefer="Other.")]))
    assert (finding.code, finding.field, finding.fix) == ("near-duplicate", "principles[1].ask", "make it one")
    (finding,) = lint(write(tmp_path, [rude, check("turned", rude["ask"], good="yes")]))
    assert (finding.code, finding.field) == ("contradiction", "principles[1].ask")
    (finding,) = lint(write(tmp_path, [check("long", " ".join(["long"] * 81), prefer="Short.")]))
    assert (finding.code, finding.field) == ("too-long", "principles[0].ask")


def test_a_cost_axis_wants_a_counterweight(tmp_path: Path) -> None:
    axes = {"good": {"kind": "cost"}}
    harm = principle("harm", "Choose the response with less harm.")
    (finding,) = lint(write(tmp_path, [harm], axes=axes))
    assert (finding.code, finding.field, finding.line) == ("no-counterweight", "axes.good", 3)
    saved = [{**harm, "unless": "The request is harmless."}, principle("calm", "Choose the calmer response.")]
    assert lint(write(tmp_path, saved, axes=axes)) == []  # one exception is enough for an axis
    assert lint(write(tmp_path, [harm], axes=axes, extends=["helpful"])) == []
    idle = {**axes, "idle": {"kind": "reward"}}  # a reward axis that no principle speaks for opposes nothing
    assert codes(lint(write(tmp_path, [harm], axes=idle))) == ["no-counterweight", "unused-axis"]


def test_an_axis_that_nobody_speaks_for(tmp_path: Path) -> None:
    axes = {"good": {"kind": "reward"}, "idle": {"kind": "cost"}}
    (finding,) = lint(write(tmp_path, [principle("kind", "Choose the kinder response.")], axes=axes))
    assert (finding.code, finding.field) == ("unused-axis", "axes.idle")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_length_counts_what_the_critic_reads_at_once(tmp_path: Path, language: str) -> None:
    def words(count: int) -> str:
        return "长" * count if language == "zh" else " ".join(["long"] * count)

    def found(**texts: Any) -> list[str]:
        one = principle("wordy", texts.pop("prefer"), **texts)
        return codes(lint(write(tmp_path, [one], language=language)))

    assert found(prefer=words(80)) == []
    assert found(prefer=words(81)) == ["too-long"]
    assert found(prefer=words(40), unless=words(40)) == []
    assert found(prefer=words(40), unless=words(41)) == ["too-long"]
    assert found(prefer=words(40), paraphrases=[words(60), words(81)]) == ["too-long"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Choose the response that is more polite to the user.", "Pick the reply that is more polite to the user."),
        ("Choose the response that explains each step clearly.", "Choose the response which clearly explains steps."),
        ("Choose the ruder, less polite response.", "Choose the less polite, ruder response."),
        ("选择更礼貌地对待用户的回复。", "请选择更礼貌地对待用户的回复。"),
    ],
)
def test_near_duplicates(tmp_path: Path, first: str, second: str) -> None:
    for axes in (("good", "good"), ("good", "other")):
        (finding,) = pair(tmp_path, first, second, axes)
        assert (finding.code, finding.field, finding.severity) == ("near-duplicate", "principles[1].prefer", "warning")
        assert "'first'" in finding.message and f"{tmp_path / 'linted.yaml'}:" in finding.message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "Choose the response that gives more detail about each step.",
            "Choose the one with less detail about each step.",
        ),
        ("Choose the longer response.", "Choose the shorter response."),
        ("Choose the politer response.", "Choose the ruder response."),
        ("Choose the concise response.", "Choose the rambling response."),
        ("Choose the response that is harmless.", "Choose the response that is harmful."),
        (
            "Choose the response that uses emoji in its greeting.",
            "Choose the response that does not use emoji in greeting.",
        ),
        ("Choose the response that praises the user.", "Choose the response that avoids praise of the user."),
        ("选择给出更多细节和例子的回复。", "选择给出更少细节和例子的回复。"),
        ("选择提到自己是人工智能的回复。", "选择不提到自己是人工智能的回复。"),
    ],
)
def test_contradictions_on_one_axis(tmp_path: Path, first: str, second: str) -> None:
    (finding,) = pair(tmp_path, first, second)
    assert (finding.code, finding.field) == ("contradiction", "principles[1].prefer")
    # On two axes it is a trade-off that the author wants.
    assert pair(tmp_path, first, second, ("good", "other")) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Choose the more polite response.", "Choose the shorter response."),
        ("Choose the response with less harm to people.", "Choose the response with more help for the user."),
        ("Choose the response that does not insult the user.", "Choose the response that answers the question."),
        ("Choose the response with less violence.", "Choose the response with less advertising."),
        ("选择更礼貌的回复。", "选择事实错误更少的回复。"),
    ],
)
def test_different_principles_are_left_alone(tmp_path: Path, first: str, second: str) -> None:
    assert pair(tmp_path, first, second) == []


def test_two_reversals_are_none(tmp_path: Path) -> None:
    (finding,) = pair(tmp_path, "Choose the more polite response.", "Choose the less rude response.")
    assert finding.code == "near-duplicate"


def test_findings_in_extended_files_stand_there(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    write(tmp_path, [principle("kind", "Choose the kinder response to the user.")]).rename(base)
    own = write(tmp_path, [principle("own", "Pick the kinder reply to the user.")], extends=["./base.yaml"])
    (finding,) = lint(own)
    assert finding.file == str(own) and f"({base}:" in finding.message


def test_the_text_for_people(tmp_path: Path) -> None:
    file = write(tmp_path, [{"id": "bare", "axis": "nowhere", "prefer": "Choose the kinder response."}])
    lines = render_text(lint(file)).splitlines()
    assert lines[0].startswith(
        f"{file}:7:3: error [unknown-axis] principles[0].axis: the axis 'nowhere' is not defined"
    )
    assert "Fix: define it under `axes`" in lines[0]
    assert lines[-1] == "errors: 1, warnings: 0"
    assert "did you mean 'helpful'?" in render_text(lint("helpfull"))
    assert render_text(lint("nobody")).startswith("error [not-found] there is no shipped constitution 'nobody'. Fix: ")


def test_at_most_one_finding_a_principle_about_other_principles(tmp_path: Path) -> None:
    findings = lint(write(tmp_path, [principle(f"p{i}", "Choose the kinder response.") for i in range(50)]))
    assert codes(findings) == ["near-duplicate"] * 49
    texts = ["Choose the longer response.", "Choose the shorter response.", "Pick the shorter response."]
    findings = lint(write(tmp_path, [principle(f"p{i}", text) for i, text in enumerate(texts)]))
    assert codes(findings) == ["contradiction", "contradiction"]


def largest(folder: Path, letters: str, join: str) -> Path:
    """256 principles in nearly a mebibyte, each of random words in the text that is compared."""
    rng = Random(0)

    def text(count: int) -> str:
        return join.join("".join(rng.choices(letters, k=6)) for _ in range(count))

    size = 3000 // len(text(1).encode() + join.encode())
    principles = [
        {
            "id": f"p{i}",
            "axis": "good",
            "prefer": text(size),
            "critique": "Why?",
            "tests": [{**TEST, "better": text(50)}],
        }
        for i in range(256)
    ]
    file = folder / "largest.yaml"  # JSON is YAML, and quicker to write
    data = {"name": "largest", "axes": {"good": {"kind": "reward"}}, "principles": principles}
    file.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("letters", "join"), [("abcdefghijklmnopqrstuvwxyz", " "), ("的一是不了人我在有他这中大来", "")]
)
def test_the_largest_file_is_linted_at_once(tmp_path: Path, letters: str, join: str) -> None:
    file = largest(tmp_path, letters, join)
    assert 0.75 * strict_yaml.MAX_BYTES < file.stat().st_size <= strict_yaml.MAX_BYTES
    begun = time.process_time()
    assert len(lint(file)) >= 256
    assert time.process_time() - begun < 0.5  # measured: 0.15


@settings(deadline=None)
@given(*[st.sets(st.sampled_from([f"word{letter}" for letter in "abcdefghij"]), min_size=1)] * 2)
def test_the_quick_bound_hides_no_finding(first: set[str], second: set[str]) -> None:
    gists = [_gist(Principle(id="x", axis="y", prefer=" ".join(words))) for words in (first, second)]
    overlap = len(first & second) / len(first | second)
    assert _jaccard(gists[0].subject, gists[1].subject) == overlap
    assert overlap < OPPOSITE or not _surely_unlike(*gists)


def test_no_model_library_is_loaded() -> None:
    code = (
        "import sys; from rlaif.critique.lint import lint; lint('harmless');"
        "print({'torch', 'transformers', 'vllm', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_documentation_lists_every_code() -> None:
    sources = (shipped.PACKAGE / "critique" / "lint.py", shipped.PACKAGE / "records" / "constitution.py")
    written = "".join(source.read_text(encoding="utf-8") for source in sources)
    page = (ROOT / "docs" / "constitution.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (?:error|warning) \|", page, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)} == set(
        re.findall(r'(?:Fault|_warning)\("([a-z-]+)"', written)
    )
