"""Two constitutions on the same pairs: `rlaif constitution diff`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.commands.asked import critic_at, judgements
from rlaif.commands.labels import label_config
from rlaif.critique import changes
from rlaif.critique.changes import Shift, Variant
from rlaif.critique.compare import Question, labelling_questions
from rlaif.ports import registry
from rlaif.ports.panel import Panel
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records.changes import Change, ChangedPair, ConstitutionDiff, Measured
from rlaif.records.errors import InputError
from rlaif.records.files import iterate_rows, write_text
from rlaif.records.inputs import iterate_pairs
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.labelling import Labelling
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.stages import label
from rlaif.stages.audit import resolve

# Of a folder of labels: how its critic was asked, and how its answers became labels.
KEPT = ("mode", "samples", "rationales", "rationale_tokens", "paraphrases", "clamp", "temperature")


class Compared(NamedTuple):
    """What was found, and what it took: requests to the critic, and answers that were stored already."""

    diff: ConstitutionDiff
    asked: int
    stored: int


Pairs = Callable[[], Iterator[Pair]]


def run(
    a: str,
    b: str,
    critic: str | None,
    reporter: Reporter,
    *,
    pairs: str | None = None,
    labels: Path | None = None,
    limit: int | None = None,
    out: Path | None = None,
    options: dict[str, Any] | None = None,
    price: str | None = None,
    max_cost: float | None = None,
) -> Compared:
    """Label the same pairs under both, asking what is the same in both once, and compare; without pairs, compare texts.

    Args:
        critic: ENGINE:MODEL; the one of `labels` where None.
        pairs: a pairs file; the pairs of `labels` where None.
        labels: what `rlaif label` or a run wrote: its stored answers are used, its critic's mode and its rule kept.
        out: where answers and `diff.json` are kept; without it answers go to `labels`.
        options: keys of the label section, for those that are not None.

    Raises:
        InputError: bad input, no pairs in the file, or no critic for them.
        RunHalted: too many judgements failed, or the budget is spent.
    """
    first, second = constitutions.load(a), constitutions.load(b)
    before, after = (changes.variant(c, paraphrases=False) for c in (first, second))
    if pairs is None and labels is None:
        if critic is not None:
            fix = "give --pairs FILE, or --labels DIR with the folder of labels of one of the two"
            raise InputError("it is not said on which pairs to compare", fix=fix)
        return Compared(_diff((before, after), None, changes.compare(before, after), None, out), 0, 0)
    labels = resolve(labels) if labels is not None else None
    critic = str(registry.checked_spec(critic or _critic_of(labels), field="--critic"))
    config = _config(critic, labels, options or {})
    source = _pairs(pairs, labels, limit)
    total = sum(1 for _ in source())  # faults of the input come before anything is asked
    if not total:
        raise InputError("there are no pairs here", file=pairs or labels, fix="give at least one")
    before, after = (changes.variant(c, paraphrases=config.paraphrases) for c in (first, second))
    found = changes.compare(before, after)
    measured, asked, stored = None, 0, 0
    if any(change.relabels for change in found):
        folder = out or labels
        elsewhere = labels / "answers.sqlite" if labels is not None and labels != folder else None
        made_by = "label" if folder is not None and folder == labels else "constitution diff"
        asking_at = critic_at(
            folder, critic, config, reporter, made_by, price=price, max_cost=max_cost, stored=elsewhere
        )
        with asking_at as panel:
            _about(panel, labels, reporter)
            comparison = _Comparison(panel, config, before, after, found)
            measured = comparison.measure(source(), total)
            asking = panel.voters[0].asking
            asked, stored = asking.asked, asking.cached
    return Compared(_diff((before, after), critic, found, measured, out), asked, stored)


def _diff(
    variants: tuple[Variant, Variant],
    critic: str | None,
    found: list[Change],
    measured: Measured | None,
    out: Path | None,
) -> ConstitutionDiff:
    """The record, written to `out` where that is given."""
    first, second = (variant.constitution for variant in variants)
    names = [f"{c.name}@{c.version}" for c in (first, second)]
    same = len(second.principles) - sum(c.what == "principle" and c.kind != "removed" for c in found)
    diff = ConstitutionDiff(a=names[0], b=names[1], critic=critic, changes=found, same=same, measured=measured)
    if out is not None:
        write_text(out / "diff.json", json.dumps(diff.model_dump(), indent=2) + "\n")
    return diff


def _critic_of(labels: Path | None) -> str:
    """The critic that a folder's labels are of.

    Raises:
        InputError: there is no such folder, or it had several.
    """
    known = [critic.spec for critic in label.read_folder(labels).critics] if labels is not None else []
    if len(known) != 1:
        why = (
            f"these labels are of several critics: {', '.join(known)}"
            if known
            else "it is not said who judges the pairs"
        )
        raise InputError(why, fix="give --critic ENGINE:MODEL", field="--critic")
    return known[0]


class _Comparison:
    """Pairs under two constitutions, a block of them at a time."""

    def __init__(self, panel: Panel, config: Labelling, a: Variant, b: Variant, found: Sequence[Change]) -> None:
        self._panel, self._config, self._a, self._b = panel, config, a, b
        self._changes = [change for change in found if change.relabels]
        self._undone = [changes.undone(a, b, change) for change in self._changes]
        new = [(p, k) for p, k in zip(b.constitution.principles, b.keys, strict=True) if k not in a.keys]
        self._parts = [  # each key is asked once, even where a constitution holds the same words twice
            (under, {k: p for p, k in entries})
            for under, entries in (
                (a.constitution, list(zip(a.constitution.principles, a.keys, strict=True))),
                (b.constitution, new),
            )
        ]

    def measure(self, pairs: Iterator[Pair], total: int) -> Measured:
        asking = self._panel.voters[0].asking
        shifts: list[Shift] = []
        failed = judged = flips = 0
        while block := list(islice(pairs, self._size())):
            asked = [list(self._questions(pair)) for pair in block]
            answers = judgements(self._panel, [[question for _, question in own] for own in asked])
            for pair, own, said in zip(block, asked, answers, strict=True):
                shift = self._shift(pair, [k for k, _ in own], said)
                flips += shift.a is not None and shift.b is not None and changes.flipped(shift.a, shift.b)
                shifts.append(shift)
            lost = [j.reason for said in answers for j in said if j.status == "failed"]
            failed, judged = failed + len(lost), judged + sum(map(len, answers))
            asking.count_failures(failed, judged, lost[-1] if lost else None)
            asking.progress(len(shifts), total, {"flipped": flips}, budget=self._panel.budget)
        return changes.measured(shifts, self._changes)

    def _questions(self, pair: Pair) -> Iterator[tuple[str, Question]]:
        """What is asked about a pair, and the key of the principle that it is asked for."""
        for under, principles in self._parts:
            keys = {principle.id: k for k, principle in principles.items()}
            for question in labelling_questions(self._config, pair, under, list(principles.values())):
                yield keys[question.principle_id], question

    def _shift(self, pair: Pair, keys: Sequence[str], said: Sequence[Judgement]) -> Shift:
        judged: dict[str, list[Judgement]] = {}
        for key, judgement in zip(keys, said, strict=True):
            judged.setdefault(key, []).append(judgement)
        p = [changes.probability(pair, under, judged, self._config) for under in (self._a, self._b, *self._undone)]
        return Shift(pair.id, changes.excerpt(pair), p[0], p[1], p[2:])

    def _size(self) -> int:
        example = Pair(id="x", messages=[Message(role="user", content="x")], responses=("a", "b"))
        return max(1, self._panel.block // sum(1 for _ in self._questions(example)))


def _config(critic: str, labels: Path | None, options: dict[str, Any]) -> Labelling:
    """How the critic is asked: as that folder's was, but for what is said otherwise."""
    kept: dict[str, Any] = {}
    if labels is not None:
        about = label.read_folder(labels)
        if not (labels / "answers.sqlite").is_file():
            fix = "name a folder that `rlaif label` wrote, with its stored answers"
            raise InputError("there are no stored answers here", file=labels / "answers.sqlite", fix=fix)
        kept = {name: getattr(about.config, name) for name in KEPT}
    return label_config([critic], {**kept, **{k: v for k, v in options.items() if v is not None}}, [])


def _pairs(file: str | None, labels: Path | None, limit: int | None) -> Pairs:
    """The pairs of a file, or those that a folder's critic labelled."""
    if file is not None or labels is None:
        return lambda: iterate_pairs(str(file), limit)
    path = labels / "labels.jsonl"

    def labelled() -> Iterator[Pair]:
        rows = iterate_rows(path, Label, "labels")
        return islice((row.pair for row in rows if row.constitution is not None), limit)

    return labelled


def _about(panel: Panel, labels: Path | None, reporter: Reporter) -> None:
    """Say where the answers of a folder are another critic's."""
    if labels is not None:
        identity = panel.voters[0].asking.identity
        if identity not in {c.identity for c in label.read_folder(labels).critics}:
            reporter.line(f"the answers in {labels} are another critic's: everything is asked")


def describe(found: Compared, names: tuple[str, str], show: int) -> str:
    """What changed in the text, in the labels, through what, and the pairs that changed most.

    Args:
        names: of the constitutions, as the user gave them.
        show: so many pairs.
    """
    diff = found.diff
    lines = [f"{diff.a} ({names[0]}) → {diff.b} ({names[1]})"]
    lines.append(f"changes: {len(diff.changes)}, principles that are the same: {diff.same}")
    lines += [f"  {_change(change)}" for change in diff.changes]
    own = diff.measured
    if own is None and any(change.relabels for change in diff.changes):
        return "\n".join([*lines, "", "what that does to labels: --labels DIR, or --pairs FILE --critic ENGINE:MODEL"])
    if own is None:
        return "\n".join([*lines, "", "no label can change by that: nothing was asked"])
    shift = "–" if own.shift is None else f"{own.shift:.3f}"
    lines += [
        "",
        f"pairs: {own.pairs}, without a label under one of the two: {own.without}, undecided: {own.undecided}",
        f"flipped: {_interval(own)}; mean |ΔP| {shift}",
        f"answers: {found.asked} asked, {found.stored} stored already",
        "",
        *_effects(own),
    ]
    if own.changed:
        lines += ["", f"most changed ({min(show, len(own.changed))} of {len(own.changed)})"]
        lines += [_pair(pair) for pair in own.changed[:show]]
    return "\n".join(lines)


def _change(change: Change) -> str:
    said = [change.kind, *change.details]
    notes = "asked anew" if change.asks else "" if change.relabels else "changes no label"
    return f"{change.name}: {', '.join(said)}" + (f" ({notes})" if notes else "")


def _effects(own: Measured) -> list[str]:
    width = max(6, *(len(effect.change) for effect in own.effects))
    lines = [f"{'change':<{width}}  decides  needed  mean |ΔP|"]
    for effect in own.effects:
        shift = "–" if effect.shift is None else f"{effect.shift:.3f}"
        lines.append(f"{effect.change:<{width}}  {effect.decides:>7}  {effect.needed:>6}  {shift:>9}")
    return lines


def _interval(own: Measured) -> str:
    flips = own.flipped
    if flips.value is None or flips.low is None or flips.high is None:
        return "– (no pair has a label under both)"
    return f"{round(flips.value * flips.n)} of {flips.n}, {flips.value:.1%} [{flips.low:.1%}, {flips.high:.1%}]"


def _pair(pair: ChangedPair) -> str:
    flip = "flipped" if pair.flipped else "       "
    return f"  {pair.a:.3f} → {pair.b:.3f}  {flip}  through {pair.deciding or 'several'}  {pair.id}  {pair.prompt}"
