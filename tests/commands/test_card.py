"""Cards: filled from artifacts, silent about what is not in them, harmless whatever the texts say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from rlaif import __version__
from rlaif.commands.card import write
from rlaif.records.card import Card
from rlaif.records.run_folder import RunFolder
from tests.commandline import rlaif
from tests.commands.runs import make_labels, make_run

HOSTILE = (
    "</td></table><script>alert(1)</script> ``` | [x](javascript:alert(1)) ![y](http://evil.test/z.png) "
    "<img src=x onerror=alert(1)> **bold** $$x$$ http://evil.test @someone \u202egnirts\u202c \u200b "
    "` <b>out</b> `` end"
)


def html(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text.split("---\n", 2)[-1]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("card") / "run")
    assert rlaif("card", str(folder), cwd=folder.parent).returncode == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_the_hub_loads_both_cards_with_their_heads(made: Path) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    model = ModelCard.load(made / "card/model/README.md")
    assert model.data.to_dict()["license"] == "unknown" and model.data.tags == ["rlaif", "ppo"]
    assert model.data.to_dict().get("base_model") is None  # a shipped model is nothing on the Hub
    data = DatasetCard.load(made / "card/dataset/README.md").data.to_dict()
    assert data["configs"][0]["config_name"] == "default"
    assert {c["config_name"] for c in data["configs"]} == {"default", "axis-harmless", "axis-helpful", "axis-style"}


def test_every_item_of_the_survey_is_there_and_the_unknown_is_said(made: Path) -> None:
    text = (made / "card/disclosure.md").read_text()
    assert [f"## {i}. " in text for i in range(1, 13)] == [True] * 12
    for words in ("external audits", "who wrote the constitution", "red-teaming of the reward model", "monitoring"):
        assert words in text.lower()
    card = Card.model_validate_json((made / "card/card.json").read_bytes())
    by_id = {section.id: section for section in card.disclosure}
    facts = {fact.name: (fact.value, fact.source) for fact in by_id["optimisation"].facts}
    assert facts["mean reward, last update"] == ("1", "policy/metrics.jsonl")
    assert facts["KL from the start of training, last update, nats a reply"][0] == "2"
    assert facts["seed"] == ("7", "config.resolved.yaml")
    assert not by_id["monitoring"].facts and not by_id["policy_evaluation"].facts
    assert card.unfinished[0] == "prompts" and "policy" not in card.unfinished
    assert card.models["critic"].digest is None and len(card.models["start policy"].digest or "") == 64


def test_the_rlaif_that_ran_the_stages_is_named_and_another_one_is_a_note(run: Path) -> None:
    assert f"| rlaif that ran the stages | `{__version__}` |" in (run / "card/model/README.md").read_text()
    assert "ran the stages" not in rlaif("replay", "run", cwd=run.parent).stdout
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.9"', 1))
    assert rlaif("card", "run", cwd=run.parent).returncode == 0
    assert f"`0.0.9, {__version__}`" in (run / "card/model/README.md").read_text()
    done = rlaif("replay", "run", cwd=run.parent)
    assert f"not the one that ran the stages: {__version__} here, 0.0.9, {__version__} there" in done.stdout
    assert done.returncode == 0  # the files are those of the card


def test_a_card_and_its_replay_do_not_depend_on_the_current_folder(tmp_path: Path) -> None:
    there = tmp_path / "there"
    for name in ("mine", "runs"):
        (there / name).mkdir(parents=True)
    for name in ("train", "test"):
        (there / "mine" / f"{name}.jsonl").write_text('{"prompt": "q"}')
    prompts = {"train": "mine/train.jsonl", "test": "mine/test.jsonl"}
    folder = make_run(there / "runs" / "run", prompts=prompts)
    assert rlaif("card", str(folder), cwd=tmp_path).returncode == 0
    card = Card.model_validate_json((folder / "card/card.json").read_bytes())
    assert card.prompts.keys() == set(prompts.values()) and all(card.prompts.values())
    for cwd, name in ((tmp_path, "there/runs/run"), (there, "runs/run")):
        done = rlaif("replay", name, cwd=cwd)
        assert done.returncode == 0 and "all match" in done.stdout and "not checked: prompts" not in done.stdout


def test_what_the_authors_say_is_shown_as_theirs(run: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text("license: apache-2.0\nmonitoring: |\n  We read logs.\n  ```\n  <script>alert(1)</script>\n")
    assert rlaif("card", "run", "--notes", "notes.yaml", cwd=tmp_path).returncode == 0
    text = (run / "card/disclosure.md").read_text()
    assert "checked by nobody here" in text and "We read logs." in text and "<script>" not in html(text)
    assert "license: apache-2.0" in (run / "card/model/README.md").read_text()
    notes.write_text("monitorin: x\n")
    done = rlaif("card", "run", "--notes", "notes.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "notes.yaml:1" in done.stderr and "did you mean 'monitoring'?" in done.stderr


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    principle = {"id": "p", "axis": "a", "prefer": HOSTILE}
    own = {"name": "mine", "summary": HOSTILE, "axes": {"a": {"kind": "reward"}}, "principles": [principle]}
    file.write_text(json.dumps(own))
    folder = make_run(tmp_path / "run", str(file), model="x: [evil]\n---\n<b>/y")
    (folder / "report").mkdir()
    (folder / "report/report.json").write_text(
        '{"warnings": ["half \\ud800 a pair \\u001b[2J", ' + json.dumps(HOSTILE) + "]}"
    )
    held = RunFolder(folder)
    held.finish("report", "key", "[]", ["report/report.json"])
    held.close()
    assert rlaif("card", "run", cwd=tmp_path).returncode == 0
    for name in ("model/README.md", "dataset/README.md", "disclosure.md"):
        text = (folder / "card" / name).read_bytes().decode()
        page = html(text)
        assert not [tag for tag in ("<script", "<img", "<a href", "<strong>bold", "<b>") if tag in page]
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "\u202e" not in text and "\u200b" not in text
        assert page.count("<table>") == page.count("</table>") and "<U+202E>" in text
    shown = (folder / "card/disclosure.md").read_text()
    assert "half <U+D800> a pair <U+001B>[2J" in shown
    head = (folder / "card/model/README.md").read_text().split("---\n")[1]
    assert "evil" not in head  # this is no name of the Hub


def test_labels_alone_have_a_card(tmp_path: Path) -> None:
    make_labels(tmp_path / "labels")
    done = rlaif("card", "labels", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["unfinished"] == []
    assert not (tmp_path / "labels/card/model").exists() and (tmp_path / "labels/card/dataset/README.md").is_file()
    assert rlaif("replay", "labels", "--rerun", cwd=tmp_path).returncode == 0


def test_what_is_damaged_is_named(run: Path, tmp_path: Path) -> None:
    (run / "label/summary.json").write_text("{")
    (run / "policy/metrics.jsonl").write_text('{"step": 1, "sc')
    done = rlaif("card", "run", cwd=tmp_path)
    assert done.returncode == 0 and "summary.json is not as its stage left it" in done.stderr
    text = (run / "card/disclosure.md").read_text()
    assert "label/summary.json cannot be read" in text and "policy/metrics.jsonl cannot be read" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such folder"), ({}, "no folder of a run or of labels"), ({"manifest.json": "{"}, "damaged manifest")],
)
def test_what_is_no_run_is_refused(content: dict[str, str] | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run").mkdir()
        for name, text in content.items():
            (tmp_path / "run" / name).write_text(text)
    done = rlaif("card", "run", cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and not (tmp_path / "run/card").exists()


def test_the_same_run_gives_the_same_cards(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Card.model_validate_json((run / "card/card.json").read_bytes())
    monkeypatch.setattr(write, "code", lambda: old.code)  # these files may change while the tests run
    before = {f: f.read_bytes() for f in (run / "card").rglob("*.*")}
    assert rlaif("card", "run", cwd=tmp_path).returncode == 0
    assert before == {f: f.read_bytes() for f in (run / "card").rglob("*.*")} and len(before) == 4


def test_replay_holds_for_an_untouched_run_wherever_it_lies(run: Path, tmp_path: Path) -> None:
    done = rlaif("replay", "run", "--rerun", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["holds"] and found["checked"] > 20 and found["differences"] == []
    assert found["again"].startswith("rlaif run run/config.resolved.yaml --out ")
    shutil.copy(run / "card/card.json", tmp_path / "elsewhere.json")
    assert rlaif("replay", "elsewhere.json", "--in", "run", cwd=tmp_path).returncode == 0


def test_replay_names_what_differs_what_is_missing_and_what_is_new(run: Path, tmp_path: Path) -> None:
    expected = json.loads((run / "card/card.json").read_text())["artifacts"]["policy/model/config.json"]["sha256"]
    (run / "policy/model/config.json").write_text("{ }")
    (run / "reward/model/model.safetensors").unlink()
    (run / "policy/model/added.txt").write_text("x")
    done = rlaif("replay", "run", cwd=tmp_path)
    assert done.returncode == 3
    assert f"policy/model/config.json: expected {expected}, found " in done.stdout
    assert "reward/model/model.safetensors" in done.stdout and "found missing" in done.stdout
    assert "policy/model/added.txt: expected no such file" in done.stdout and "3 do not match" in done.stdout


def test_replay_computes_labels_again(run: Path, tmp_path: Path) -> None:
    path = run / "label/judgements.jsonl"
    path.write_text(path.read_text().replace('"logprobs":[-', '"logprobs":[-1', 1))
    done = rlaif("replay", "run", "--rerun", cwd=tmp_path)
    assert done.returncode == 3 and "labels in run/label, computed again: expected" in done.stdout


def test_a_changed_constitution_is_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    own = {
        "name": "mine",
        "axes": {"a": {"kind": "reward"}},
        "principles": [{"id": "p", "axis": "a", "prefer": "Be kind."}],
    }
    file.write_text(json.dumps(own))
    make_run(tmp_path / "run", str(file))
    assert rlaif("card", "run", cwd=tmp_path).returncode == 0
    file.write_text(json.dumps(own).replace("Be kind", "Be rude"))
    done = rlaif("replay", "run", cwd=tmp_path)
    assert done.returncode == 3 and f"constitution {file}, for judging: expected" in done.stdout


def test_a_card_that_is_none_or_leads_outside_is_refused(run: Path, tmp_path: Path) -> None:
    assert "there is no card here" in rlaif("replay", "nowhere", cwd=tmp_path).stderr
    card = run / "card/card.json"
    text = card.read_text()
    card.write_text(text.replace('"policy/metrics.jsonl": {', '"../../etc/passwd": {'))
    done = rlaif("replay", "run", cwd=tmp_path)
    assert done.returncode == 2 and "outside of the run" in done.stderr
    card.write_text(text[: len(text) // 2])
    assert rlaif("replay", "run", cwd=tmp_path).returncode == 2


def test_of_several_rounds_the_last_that_is_there_counts(run: Path, tmp_path: Path) -> None:
    config = run / "config.resolved.yaml"
    config.write_text(config.read_text() + "rounds: 3\n")
    (run / "round-2/policy").mkdir(parents=True)
    (run / "round-2/policy/metrics.jsonl").write_text('{"step": 9, "score": 0.25, "kl": 8.5}\n')
    assert rlaif("card", "run", cwd=tmp_path).returncode == 0
    card = Card.model_validate_json((run / "card/card.json").read_bytes())
    facts = {fact.name: (fact.value, fact.source) for fact in card.sections["optimisation"].facts}
    assert facts["mean reward, last update"] == ("0.25", "round-2/policy/metrics.jsonl")
    assert facts["rounds of pairs, labels, reward and policy"][0] == "3"
    assert {"round-2/policy", "round-3/pairs"} <= set(card.unfinished) and "policy" not in card.unfinished
