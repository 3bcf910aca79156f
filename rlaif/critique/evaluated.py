"""From replies and judgements to what an evaluation says of them: pure functions of what was answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

from rlaif.critique import aggregate, degeneracy, diversity
from rlaif.critique.agreement import wilson
from rlaif.critique.meters import compression, declines
from rlaif.critique.wins import corrected, longer_wins, rate
from rlaif.records import seeds
from rlaif.records.constitution import Constitution, Principle
from rlaif.records.evaluation import Against, ModelReply, PrincipleRate, Rate, Refusals, Replies, Verdict
from rlaif.records.judgement import Judgement
from rlaif.records.labelling import Rule
from rlaif.records.pair import Pair
from rlaif.records.tasks import Task

METEOR_PAIRS = 500  # of replies to different prompts: a standard error below 0.01, in half a second
SHOWN = 20  # ids of prompts without a reply
REASONS = 5  # kinds of failures that are listed


def verdict(
    about: tuple[str, str, str], pair: Pair, constitution: Constitution, judgements: Sequence[Judgement], rule: Rule
) -> Verdict:
    """What judgements of a pair come to.

    Args:
        about: the prompt set, and the two models whose replies the pair holds.
        judgements: none of a pair that is the same text twice: that is a tie, by every principle.
    """
    identical = pair.responses[0] == pair.responses[1]
    principles: dict[str, float | None] = dict.fromkeys((p.id for p in constitution.principles), 0.5)
    axes: dict[str, float | None] = dict.fromkeys((p.axis for p in constitution.principles), 0.5)
    p, consistent = 0.5 if identical else None, None
    if not identical:
        found = aggregate.label(pair, constitution, judgements, rule, flags=[])
        p, consistent = _rounded(found.p), found.order_consistent
        axes = {name: _rounded(found.axes[name].p) for name in axes}
        principles = {**dict.fromkeys(principles), **{vote.principle_id: _rounded(vote.p) for vote in found.votes}}
    return Verdict(
        **dict(zip(("set", "model", "against"), about, strict=True)),
        prompt_id=pair.id,
        p=p,
        axes=axes,
        principles=principles,
        order_consistent=consistent,
        identical=identical,
        longer_by=len(pair.responses[0]) - len(pair.responses[1]),
        judgements=len(judgements),
        reasons=[j.reason or "" for j in judgements if j.status == "failed"],
    )


def _rounded(p: float | None) -> float | None:
    """A tie stays one: sums of weights may leave one half by a last bit."""
    return None if p is None else round(p, 12)


def against(
    models: tuple[str, str],
    verdicts: Sequence[Verdict],
    constitution: Constitution,
    trained: Collection[str] | None,
    categories: Mapping[str, str],
    without_reply: Mapping[str, int],
) -> Against:
    """One model against another on one prompt set.

    Args:
        trained: content hashes of the principles of training; None where they are not known.
        categories: of the prompts that have one, by id.
        without_reply: prompts without a reply, by model.
    """
    said, lengths = [v.p for v in verdicts], [v.longer_by for v in verdicts]
    consistent = [v.order_consistent for v in verdicts if v.order_consistent is not None]
    new = None if trained is None else [p for p in constitution.principles if p.content_hash not in trained]
    old = None if new is None else [p for p in constitution.principles if p not in new]
    reasons = [reason for v in verdicts for reason in v.reasons]
    return Against(
        model=models[0],
        against=models[1],
        compared=len(verdicts),
        without_reply=dict(without_reply),
        identical=sum(v.identical for v in verdicts),
        judgements=sum(v.judgements for v in verdicts),
        failed=len(reasons),
        failures=dict(Counter(reasons).most_common(REASONS)),
        overall=rate(said),
        corrected=corrected(said, lengths),
        axes={axis: rate([v.axes[axis] for v in verdicts]) for axis in {p.axis: 0 for p in constitution.principles}},
        principles=[
            PrincipleRate(
                id=p.id,
                axis=p.axis,
                held_out=None if new is None else p in new,
                rate=rate([v.principles[p.id] for v in verdicts]),
            )
            for p in constitution.principles
        ],
        held_out=_by(new, constitution, verdicts),
        trained=_by(old, constitution, verdicts),
        categories=_by_category(verdicts, categories),
        order_consistent=wilson(sum(consistent), len(consistent)),
        longer=longer_wins(said, lengths),
    )


def _by(principles: Sequence[Principle] | None, constitution: Constitution, verdicts: Sequence[Verdict]) -> Rate | None:
    """The rate by some of the principles alone, each by its weight times its axis's; vetoes play no part."""
    if not principles:
        return None
    weights = {p.id: p.weight * constitution.axes[p.axis].weight for p in principles}
    return rate([aggregate.weighted_mean((w, v.principles[name]) for name, w in weights.items()) for v in verdicts])


def _by_category(verdicts: Sequence[Verdict], categories: Mapping[str, str]) -> dict[str, Rate]:
    groups: dict[str, list[float | None]] = {}
    for own in verdicts:
        if (name := categories.get(own.prompt_id)) is not None:
            groups.setdefault(name, []).append(own.p)
    return {name: rate(own) for name, own in sorted(groups.items())}


def replies(model: str, tasks: Sequence[Task], written: Sequence[ModelReply], seed: int) -> Replies:
    """What one model's replies to a prompt set look like; of a dialogue all replies count as one text.

    Args:
        tasks: those that want a reply, in the order of `written`.
        seed: of the pairs that METEOR compares.
    """
    texts = [" ".join(row.replies) for row in written if row.replies is not None]
    finished = [ended for row in written for ended in row.finished or ()]
    similar = diversity.across_prompts(texts, METEOR_PAIRS, seeds.derive(seed, "meteor", "evaluate")) if texts else None

    def of(measure: Callable[[list[str]], float]) -> float | None:
        return measure(texts) if texts else None

    return Replies(
        model=model,
        answered=len(texts),
        missing=len(written) - len(texts),
        missing_ids=[row.prompt_id for row in written if row.replies is None][:SHOWN],
        failures=dict(Counter(row.reason for row in written if row.reason is not None).most_common(REASONS)),
        words=of(lambda own: fmean(len(text.split()) for text in own)),
        finished=fmean(finished) if finished else None,
        distinct=of(degeneracy.distinct),
        distinct_1=of(lambda own: degeneracy.distinct_n(own, 1)),
        distinct_2=of(lambda own: degeneracy.distinct_n(own, 2)),
        longest_repeat=of(lambda own: fmean(map(degeneracy.longest_repeat, own))),
        compression=of(compression),
        meteor=similar,
        refusals=_refusals(tasks, written),
    )


def _refusals(tasks: Sequence[Task], written: Sequence[ModelReply]) -> Refusals:
    """Of a dialogue the last reply counts."""
    said = [(task.safety, declines(own.replies[-1])) for task, own in zip(tasks, written, strict=True) if own.replies]
    marks = {"safe": "safe", "looks_unsafe": "looks-unsafe", "unsafe": "unsafe"}
    parts = {name: [declined for safety, declined in said if safety == mark] for name, mark in marks.items()}
    parts["all"] = [declined for _, declined in said]
    return Refusals(**{name: wilson(sum(own), len(own)) for name, own in parts.items()})
