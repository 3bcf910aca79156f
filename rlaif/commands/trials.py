"""A constitution's own tests, put to a critic: `rlaif constitution test`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rlaif.commands.asked import critic_at, judgements
from rlaif.critique import trials
from rlaif.critique.compare import Question, labelling_questions
from rlaif.critique.trials import Planned
from rlaif.ports.answers import blocks
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records.constitution import Constitution
from rlaif.records.files import write_text
from rlaif.records.labelling import Labelling
from rlaif.records.trials import Counts, Stand, Trial, TrialReport

GUIDE = "docs/writing-principles.md"
MOST_OBJECTIONS = 20
WHAT_TO_DO = {
    "wrong": "the critic does not read the principle as you mean it: say in plain words which response is better, name "
    "what can be seen in the text, make it shorter; and read the test again",
    "flips": "the order decides: let the principle ask for one thing (split it), and for something that stands in the "
    "text of one response and not of the other",
    "no answer": "nothing was measured: after an error of the critic run the same command again; where it named none "
    "of the options, word the principle as a choice between two responses",
}


def run(
    file: str,
    critic: str,
    reporter: Reporter,
    *,
    config: Labelling,
    principle: str | None = None,
    across: bool = False,
    out: Path | None = None,
    price: str | None = None,
    max_cost: float | None = None,
) -> TrialReport:
    """Ask every principle about its own tests, and write `tests.json` to `out`, where answers are kept too.

    Args:
        principle: only the tests of this one.
        across: ask every principle of the constitution about every test.

    Raises:
        InputError: bad input, no such principle, or no tests.
        RunHalted: the budget is spent.
    """
    loaded = constitutions.load(file)
    planned = trials.planned(loaded, principle)
    with critic_at(out, critic, config, reporter, "constitution test", price=price, max_cost=max_cost) as panel:
        asked = [(test, _questions(test, loaded, config, across=across)) for test in planned]
        size = max(1, panel.block // max(len(own) for _, own in asked))
        asking = panel.voters[0].asking
        found: list[Trial] = []
        for block in blocks(asked, size):
            judged = judgements(panel, [own for _, own in block])
            found += [trials.trial(test, loaded, own, config) for (test, _), own in zip(block, judged, strict=True)]
            asking.progress(len(found), len(asked), budget=panel.budget)
        report = trials.report(asking.model.spec, loaded, found, across=across)
        if out is not None:
            write_text(out / "tests.json", json.dumps(report.model_dump(), indent=2) + "\n")
    return report


def _questions(test: Planned, constitution: Constitution, config: Labelling, *, across: bool) -> list[Question]:
    return list(labelling_questions(config, test.pair, constitution, None if across else [test.principle]))


def describe(found: TrialReport) -> str:
    """The tables, every test that is not right, and what to do about it."""
    total = found.total
    lines = [f"critic {found.critic}, constitution {found.constitution}", ""]
    lines += [*_table("principle", found.principles), "", *_table("axis", found.axes)]
    lines += ["", f"tests: {total.passed} of {total.tests} passed, {total.right} of them right in both orders"]
    if found.untested:
        lines.append(f"without a test: {', '.join(found.untested)}")
    if found.across is not None:
        lines += ["", *_across(found)]
    for outcome, advice in WHAT_TO_DO.items():
        if own := [t for t in found.trials if t.outcome == outcome]:
            lines += ["", f"{outcome}: {advice} ({GUIDE})"]
            lines += [line for t in own for line in _trial(t)]
    return "\n".join(lines)


def _table(what: str, rows: dict[str, Counts]) -> list[str]:
    width = max(len(what), *(len(name) for name in rows))
    lines = [f"{what:<{width}}  tests  right  flips  wrong  no answer  mean P(better)"]
    for name, c in rows.items():
        counts = f"{c.tests:>5}  {c.right:>5}  {c.flips:>5}  {c.wrong:>5}  {c.no_answer:>9}"
        lines.append(f"{name:<{width}}  {counts}  {_p(c.p):>14}")
    return lines


def _across(found: TrialReport) -> list[str]:
    across = found.across or {}
    columns = list(dict.fromkeys(axis for cells in across.values() for axis in cells))
    width = max([14, *(len(name) for name in (*across, *columns))])
    lines = ["other principles on these tests: agree / against / unsure, by their axis"]
    lines.append(f"{'tests of axis':<{width}}" + "".join(f"  {name:>{width}}" for name in columns))
    for row, cells in across.items():
        lines.append(f"{row:<{width}}" + "".join(f"  {_stand(cells.get(name)):>{width}}" for name in columns))
    for o in found.objections[:MOST_OBJECTIONS]:
        where = "on the same axis" if o.same_axis else "on another axis"
        lines.append(f"  {o.principle} votes against {o.against}, {where}: {o.tests} of {o.of}, mean P {o.p:.3f}")
    if (more := len(found.objections) - MOST_OBJECTIONS) > 0:
        lines.append(f"  and {more} more (--json)")
    return lines


def _stand(stand: Stand | None) -> str:
    if stand is None:
        return "–"
    failed = f" ({stand.no_answer} failed)" if stand.no_answer else ""
    return f"{stand.agree} / {stand.against} / {stand.unsure}{failed}"


def _trial(one: Trial) -> Sequence[str]:
    orders = f"P(better) {_p(one.p_first)} standing first, {_p(one.p_second)} standing second, {_p(one.p)} together"
    said = orders if one.p is not None else f"no answer: {one.reason}"
    prompt = "\n".join(m.content if m.role == "user" else f"({m.role}) {m.content}" for m in one.prompt)
    texts = (("asked", one.asked), ("prompt", prompt), ("better", one.better), ("worse", one.worse))
    return [
        f"  {one.principle}, test {one.test}: {said}",
        *(f"    {name:<6}  {text}".replace("\n", "\n            ") for name, text in texts),
    ]


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
