"""What the pages of the methods say can be watched and set: every name is one that a run knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.records import constitution, metrics
from rlaif.records.files import write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from tests.tiny import tiny_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {
    "ppo": "ppo.md",
    "ppo_lagrangian": "ppo-lagrangian.md",
    "rloo": "rloo.md",
    "superhf": "superhf.md",
    "best_of_n": "best-of-n.md",
}
WRITTEN = {name: DOCS / page for name, page in PAGES.items() if (DOCS / page).is_file()}
ROW = re.compile(r"^\| (`[^|]*) \|")
BULLET = re.compile(r"^- (`[^:]*):")
NAME = re.compile(r"`([\w/]+)`")
FOR_SOME_RUNS = {"dropped"}  # where a critic rewards


def section(page: Path, title: str) -> list[str]:
    """The lines below the heading that begins so."""
    found = re.search(
        rf"^## {title}[^\n]*\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"{page.name} has no section {title!r}"
    return found[1].splitlines()


def reward(messages: Any, response: str, meta: Any) -> float:
    return float(len(response))


class Costs(Engines):
    """A cost model is at hand, whatever it says."""

    def learner(self, kind: str, **options: Any) -> Any:
        return self if kind == "reward_scorer" else super().learner(kind, **options)

    def score(self, rows: Any) -> list[float]:
        return [float(len(row.response)) for row in rows]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model(tmp_path_factory.mktemp("start") / "model")
    asked = [Prompt(id=str(i), messages=[Message(role="user", content=f"Which {i}?")]) for i in range(8)]
    write_rows(folder / "prompts.jsonl", Lineage("pages", {}).header("prompts"), asked)
    return folder


def logged(start: Path, out: Path, algorithm: str) -> set[str]:
    """The names in the metrics of a short run."""
    terms = [{"kind": "function", "function": f"{__name__}:reward"}, {"kind": "length", "free": 1, "limit": 3}]
    short = {"engine": "hf", "updates": 1, "batch_size": 16, "max_tokens": 3}
    config = policy.Config.model_validate({"algorithm": algorithm, "rewards": terms, **short})
    given = policy.Inputs(
        prompts=start / "prompts.jsonl",
        heldout=start / "prompts.jsonl",
        model=str(start),
        reward=str(start),
        cost=str(start),
        constitution=constitution.load("hhh"),
        critic="scripted:tests.judges:deaf",
        seed=0,
        out=out,
        lineage=Lineage("pages", {}),
    )
    policy.run(config, Costs(), given)
    return set(metrics.read(out / "metrics.jsonl")[0].values)


@pytest.mark.parametrize("algorithm", WRITTEN)
def test_what_is_to_be_watched_is_logged(start: Path, tmp_path: Path, algorithm: str) -> None:
    lines = section(WRITTEN[algorithm], "What to watch")
    heads = [found[1] for line in lines if (found := ROW.match(line) or BULLET.match(line))]
    named = {name for head in heads if ".json" not in head for name in NAME.findall(head)}
    assert {"score", "kl"} & named
    known = logged(start, tmp_path, algorithm)
    assert {name for name in known if name.startswith("reward/")} == {"reward/reward", "reward/length"}
    assert named - {"reward/NAME"} - FOR_SOME_RUNS <= known


@pytest.mark.parametrize("algorithm", WRITTEN)
def test_settings_exist(algorithm: str) -> None:
    lines = section(WRITTEN[algorithm], "Settings")
    named = {name.removeprefix("settings.") for line in lines if (row := ROW.match(line)) for name in names(row[1])}
    assert named
    assert named - {"policy"} <= {*policy.Config.model_fields, *own_settings(algorithm)}


def names(cell: str) -> list[str]:
    return re.findall(r"`(?:policy\.)?([\w.]+)`", cell)


def own_settings(algorithm: str) -> dict[str, Any]:
    fields: dict[str, Any] = registry.load("algorithm", algorithm).Config.model_fields
    return fields


def test_the_page_of_ppo_lists_every_setting_with_its_default() -> None:
    text = "\n".join(section(DOCS / "ppo.md", "Settings"))
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    del rows["policy"]  # the head of the table
    fields = own_settings("ppo")
    assert fields.keys() <= rows.keys()
    for name, said in rows.items():
        field = fields.get(name) or policy.Config.model_fields[name]
        assert said.strip("`") == json.dumps(field.default).strip('"') or float(said) == field.default, name
