"""`why`: the prompts behind a label are the ones that were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif.commands import provenance
from rlaif.critique import templates
from rlaif.records.errors import InputError
from tests.ports.asked import FakeChat
from tests.stages.test_label import RULES, Fakes, prefers, run


def found(folder: Path, label_id: str = "p1") -> list[dict[str, Any]]:
    judgements: list[dict[str, Any]] = provenance.why(folder, label_id)["judgements"]
    return judgements


def test_every_prompt_is_the_exact_one_that_was_asked(tmp_path: Path) -> None:
    critic = FakeChat(prefers("good"))
    out = run(tmp_path, Fakes(cheap=critic), canaries=1.0)
    shown = found(out)
    assert len(shown) == 8 and all(entry["exact"] is True for entry in shown)
    asked = [text for text in critic.asked if "good reply 1\n" in text and "no 1\n" in text]
    compared = [entry["messages"][-1]["content"] for entry in shown if entry["form"] == "compare"]
    assert compared == [text for text in asked if text in compared] and len(compared) == 4
    assert all(entry["messages"][-1]["content"] in critic.asked for entry in shown)
    text = provenance.text(provenance.why(out, "p1"))
    assert text.count("the exact prompt") == 8
    assert "[first response, better] good reply 1" in text and "[second response] no 1" in text
    assert "P(A) = 0.8000" in text and "good reply 1" in text and "NOT" not in text


def test_canaries_and_failures_can_be_asked_about_too(tmp_path: Path) -> None:
    critic = FakeChat(lambda text: "overloaded" if "question 7" in text else prefers("good")(text))
    out = run(tmp_path, Fakes(cheap=critic), canaries=1.0, max_failure_rate=1.0)
    assert "failed: overloaded" in provenance.text(provenance.why(out, "p7"))
    lure = next(line for line in (out / "canaries.jsonl").read_text().splitlines() if ":p1" in line)
    name = lure.partition('"id":"')[2].partition('"')[0]
    assert name.startswith("canary:") and all(entry["exact"] for entry in found(out, name))


def test_another_template_is_said_to_be_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = run(tmp_path, Fakes(cheap=FakeChat(prefers("good"))))
    render = templates.render

    def other(template: templates.Template, **values: Any) -> Any:
        first, second = render(template, **values)
        return [first, second.model_copy(update={"content": second.content + "!"})]

    monkeypatch.setattr(templates, "render", other)
    assert all(entry["exact"] is False for entry in found(out))
    assert "NOT the exact prompt" in provenance.text(provenance.why(out, "p1"))


def test_renamed_principles_keep_their_prompts(tmp_path: Path) -> None:
    from rlaif.stages import label

    out = run(tmp_path, Fakes(cheap=FakeChat(prefers("good"))))
    renamed = RULES.model_copy(
        update={"principles": [p.model_copy(update={"id": f"{p.id}-2", "weight": 7.0}) for p in RULES.principles]}
    )
    label.relabel(out, out, renamed, None)
    assert all(entry["exact"] for entry in found(out))


def test_rationales_are_printed_after_the_prompt(tmp_path: Path) -> None:
    out = run(tmp_path, Fakes(cheap=FakeChat(prefers("good"), lambda r: "The first is kinder.")), mode="cot")
    compared = [entry for entry in found(out) if entry["form"] == "compare"]
    assert {entry["mode"] for entry in compared} == {"cot"}
    assert all(entry["exact"] is None for entry in compared)  # the key hashes the turns after the rationale
    assert "step by step" in compared[0]["messages"][-1]["content"]
    assert "[rationale]\nThe first is kinder." in provenance.text(provenance.why(out, "p1"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    out = run(tmp_path, Fakes(cheap=FakeChat(prefers("good"))))
    with pytest.raises(InputError, match="there is no label 'nope'"):
        provenance.why(out, "nope")
    with pytest.raises(InputError, match=r"did you mean 'p1\d?'"):
        provenance.why(out, "p-1")
    with pytest.raises(InputError, match="holds no labels"):
        provenance.why(tmp_path, "p1")
