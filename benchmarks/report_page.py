"""How large the report of many labelled pairs is, and how quick its pair browser: MB, and milliseconds in Chromium.

    python benchmarks/report_page.py --pairs hh.jsonl --copies 5
    python benchmarks/report_page.py --count 10000

Without a file of pairs, texts are drawn from 5,000 made-up words. Judgements are made up too: four principles in both
orders, each with its own key, so that the page proves its prompts as it would those of a run. Nothing is asked.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rlaif.critique import aggregate
from rlaif.critique.compare import questions
from rlaif.critique.verdict import Asked, from_logprobs
from rlaif.page.render import page
from rlaif.ports import pairbook, readout
from rlaif.ports.answers import option_key
from rlaif.ports.pairbook import Chapter
from rlaif.ports.readout import Readout
from rlaif.records import constitution as constitutions
from rlaif.records.answer import Answer
from rlaif.records.constitution import Constitution
from rlaif.records.files import write_rows, write_text
from rlaif.records.header import Header
from rlaif.records.inputs import read_pairs
from rlaif.records.labelling import Critic, LabelFolder, Labelling
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.report import Report

SPEC, IDENTITY = "hf:made-up/critic", "hf@made-up"
LOOKED_FOR = ("the", "how do", "knife", "zzz-not-there")


def made_up(count: int, chance: random.Random) -> list[Pair]:
    """Pairs of made-up words: a question of 40 words, and two replies of 90."""
    words = ["".join(chance.choices("abcdefghijklmnoprstuvwy", k=chance.randint(2, 9))) for _ in range(5000)]

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length))

    return [
        Pair(id=f"pair-{i}", messages=[Message(role="user", content=text(40))], responses=(text(90), text(90)))
        for i in range(count)
    ]


def write(folder: Path, pairs: list[Pair], rules: Constitution, chance: random.Random) -> None:
    """A folder of labels of these pairs, with judgements that a critic might have given."""
    labels, judgements = [], []
    for pair in pairs:
        lean, own = chance.gauss(0, 1.5), []
        for question in questions(pair, rules):
            x = (lean if question.order == "ab" else -lean) + chance.gauss(0.2, 0.8)
            a = 1 / (1 + math.exp(-x))
            asked = Asked(question, SPEC, option_key(IDENTITY, question.messages, question.options), "logprob")
            answer = Answer(reason="timeout") if chance.random() < 0.002 else Answer(logprobs=(_log(a), _log(1 - a)))
            own.append(from_logprobs(asked, [answer]))
        labels.append(aggregate.label(pair, rules, own))
        judgements += own
    for name, rows in (("labels", labels), ("judgements", judgements)):
        write_rows(folder / f"label/{name}.jsonl", Header(kind=name, config_hash="0", parents={}), rows)
    critic = Critic(spec=SPEC, identity=IDENTITY, mode="logprob", choices=False)
    about = LabelFolder(config=Labelling(), constitution=rules, critics=[critic], seed=0)
    write_text(folder / "label/labelling.json", about.model_dump_json())


def _log(p: float) -> float:
    return math.log(0.999 * p)


def empty(rules: Constitution) -> Report:
    """A report of nothing but pairs."""
    nothing = ("seed", "constitution", "critic", "rollout_engine", "evaluation", "labels", "audit", "influence")
    none = ("principles", "stages", "problems", "sft_curves", "policy_curves", "credits", "pairs", "revisions")
    return Report.model_validate(
        {name: None for name in (*nothing, "reward", "cost", "guard")}
        | {name: [] for name in (*none, "warnings", "rounds")}
        | {"name": "many pairs", "summary": rules.summary or "", "simulation": False}
    )


def measure(path: Path, browser: str) -> dict[str, Any]:
    """Open the page, and use it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(path.as_uri())
        tab.wait_for_selector("#pair-detail .replies", timeout=60_000)
        found: dict[str, Any] = {"ready_ms": float(tab.evaluate("document.getElementById('browser').dataset.readyMs"))}
        tab.wait_for_selector("#browser[data-whole-ms]")
        found["judgements too"] = float(tab.evaluate("document.getElementById('browser').dataset.wholeMs"))
        tab.wait_for_timeout(1000)
        took = """use => { const begun = performance.now(); use(); return performance.now() - begun; }"""
        search = "const s = document.getElementById('pair-search'); s.value = {}; s.dispatchEvent(new Event('input'));"
        click = "document.getElementById('toggle-flips').click(); document.body.offsetHeight;"
        lens = (
            "const l = document.getElementById('pair-lens'); l.selectedIndex = 3; l.dispatchEvent(new Event('change'));"
        )
        uses = {f"search {word!r}": search.replace("{}", json.dumps(word)) for word in (*LOOKED_FOR, "")}
        uses |= {"flips": click, "flips off": click, "one principle": lens, "next pair": "KEY"}
        for name, use in uses.items():
            key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', bubbles: true}));"
            use = use.replace("KEY", key.replace("document.", "document.body.", 1))
            found[name] = round(tab.evaluate(f"({took})(() => {{ {use} document.body.offsetHeight; }})"), 1)
        found["rows in the page"] = tab.evaluate("document.querySelectorAll('#pair-space .row').length")
        chromium.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--pairs", help="a file of pairs")
    parser.add_argument("--copies", type=int, default=1, help="of the file's pairs, each with other judgements")
    parser.add_argument("--keep", type=Path, help="write the page here")
    given = parser.parse_args()
    chance = random.Random(0)
    rules = constitutions.load("tinyworld")
    pairs = read_pairs(given.pairs) if given.pairs else made_up(given.count, chance)
    many = [p.model_copy(update={"id": f"{p.id}-{n}"}) for n in range(given.copies) for p in pairs][: given.count]
    browser = next(b for name in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(name)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, many, rules, chance)
        begun = time.process_time()
        of = Readout(folder)
        about = of.record("label/labelling.json", LabelFolder)
        book = pairbook.book([Chapter(1, of, about, readout.labels(of, about, None, len(many)).labels)])
        made = page(empty(rules), (book.head, book.rows))
        seconds = time.process_time() - begun
        path = given.keep or folder / "report.html"
        path.write_text(made, encoding="utf-8")
        raw = sum(f.stat().st_size for f in (folder / "label").glob("*.jsonl"))
        print(f"{len(many):,} pairs: {raw / 1e6:.1f} MB of records, made in {seconds:.1f} s of CPU time")
        print(f"page: {path.stat().st_size / 1e6:.2f} MB")
        for what, value in measure(path, browser).items():
            print(f"  {what}: {value}")


if __name__ == "__main__":
    main()
