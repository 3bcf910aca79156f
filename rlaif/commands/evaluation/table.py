"""An evaluation for a terminal: a block for each prompt set, then what to distrust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlaif.commands.figures import number, table
from rlaif.records.agreement import Interval
from rlaif.records.evaluation import Against, EvaluationResult, Rate, Ratings, Replies, SetResult

HEAD = ["win rate", "", "mean P", "won/tied/lost", "missing"]


def describe(found: EvaluationResult) -> str:
    """Everything but single prompts."""
    lines = [
        f"{found.model} judged by {found.critic} ({found.mode}) under {found.constitution}; "
        f"temperature {found.temperature:g}, at most {found.max_tokens} tokens a reply"
    ]
    if found.training is not None:
        new = ", ".join(found.training.held_out) or "none"
        lines.append(f"trained under {found.training.constitution}; held-out principles, marked *: {new}")
    for own in found.sets:
        lines += ["", *_set(own)]
    if found.distrust:
        lines += ["", "what to distrust:", *(f"- {line}" for line in found.distrust)]
    return "\n".join(lines)


def following(found: EvaluationResult, out: Path) -> str:
    """Where it is kept, and what to do next."""
    more = f"rlaif critic test --critic {found.critic} --data FILE (is the critic right?)"
    if found.training is not None and found.training.same_critic:
        more = "the same command with a critic that did not train the model: --critic SPEC --out DIR"
    return f"kept: {out}/evaluation.json, replies.jsonl, verdicts.jsonl\nnext: {more}"


def _set(own: SetResult) -> Iterator[str]:
    parts = [
        f"{own.prompts} prompts" if own.prompts else "",
        f"{own.dialogues} of several turns" if own.dialogues else "",
        f"{own.questions} questions with choices" if own.questions else "",
    ]
    yield f"== {own.name}: {', '.join(part for part in parts if part)} =="
    for one in own.comparisons:
        yield ""
        yield from _against(one)
    if own.ratings is not None:
        yield ""
        yield from _ratings(own.ratings)
    if own.prompts:
        yield ""
        yield from _replies(own.replies)
        yield from _refusals(own.replies)
    if own.questions:
        yield ""
        yield from _choices(own.replies)


def _against(one: Against) -> Iterator[str]:
    same = f", {one.identical} of them the same text (a tie)" if one.identical else ""
    absent = "".join(f"; no reply of {name} to {count}" for name, count in one.without_reply.items() if count)
    yield f"{one.model} against {one.against}: {one.compared} prompts{same}{absent}"
    rows = [_rate("overall", one.overall)]
    rows += [_rate(f"axis {name}", rate) for name, rate in one.axes.items()] if len(one.axes) > 1 else []
    rows += [_rate(f"  {own.id}{' *' if own.held_out else ''}", own.rate) for own in one.principles]
    if one.held_out is not None and one.trained is not None:
        rows += [_rate("held-out principles *", one.held_out), _rate("principles of training", one.trained)]
    rows += [_rate(f"of {name}", rate) for name, rate in one.categories.items()] if len(one.categories) > 1 else []
    yield from (line.rstrip() for line in table(["", *HEAD], rows))
    yield f"at equal length: {_corrected(one)}; the longer reply won {interval(one.longer)}"
    yield f"swapping the replies kept the winner: {interval(one.order_consistent)}"
    if one.failed:
        worst = next(iter(one.failures))
        yield f"judgements that failed: {one.failed} of {one.judgements}, mostly: {worst}"
    if one.kl is not None:
        yield f"KL from {one.against}, nats a reply: {number(one.kl)}"


def _rate(name: str, rate: Rate) -> list[str]:
    mean = "-" if rate.probability is None else f"{rate.probability:.3f}"
    counts = f"{rate.wins}/{rate.ties}/{rate.losses}"
    return [name, *_two(rate.interval), mean, counts, str(rate.missing)]


def _corrected(one: Against) -> str:
    own = one.corrected
    if own.value is None:
        return f"- ({own.reason})"
    return f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}]"


def _ratings(own: Ratings) -> Iterator[str]:
    if own.reason is not None:
        yield f"no ratings: {own.reason}"
        return
    rows = [
        [r.model, f"{r.elo:.0f}", "-" if r.low is None or r.high is None else f"[{r.low:.0f}, {r.high:.0f}]"]
        for r in own.ratings
    ]
    yield from (line.rstrip() for line in table(["Bradley-Terry", "Elo", ""], rows))


def _replies(found: Sequence[Replies]) -> Iterator[str]:
    head = ["replies", "answered", "missing", "words", "finished", "distinct", "-1", "-2", "repeat", "compr.", "METEOR"]
    rows = [
        [
            own.model,
            str(own.answered),
            str(own.missing),
            _plain(own.words, 1),
            *(_plain(v) for v in (own.finished, own.distinct, own.distinct_1, own.distinct_2)),
            *(_plain(v, 1) for v in (own.longest_repeat, own.compression)),
            _plain(own.meteor.value if own.meteor else None),
        ]
        for own in found
    ]
    yield from table(head, rows)


def _refusals(found: Sequence[Replies]) -> Iterator[str]:
    marked = any(r.safe.n or r.looks_unsafe.n or r.unsafe.n for r in (own.refusals for own in found))
    yield ""
    if not marked:
        rows = [[own.model, interval(own.refusals.all)] for own in found]
        yield from table(["refusals", "all"], rows)
        return
    rows = [
        [own.model, *(interval(part) for part in (r.all, r.safe, r.looks_unsafe, r.unsafe))]
        for own in found
        for r in (own.refusals,)
    ]
    yield from table(["refusals", "all", "safe", "looks unsafe (over-refusal)", "unsafe"], rows)


def _choices(found: Sequence[Replies]) -> Iterator[str]:
    rows = [
        [own.model, interval(c.accuracy), _plain(c.ece), _plain(c.on_choices), str(c.failed)]
        for own in found
        if (c := own.choices) is not None
    ]
    yield from table(["choices", "accuracy", "ECE", "on choices", "failed"], rows)
    for own in found:
        if own.choices is not None and own.choices.reason is not None:
            yield f"{own.model}: {own.choices.reason}"


def interval(own: Interval) -> str:
    """A proportion with its interval and count; a dash of nothing."""
    if own.value is None:
        return "-"
    return f"{own.value:.3f} [{own.low:.3f}, {own.high:.3f}] of {own.n}"


def _two(own: Interval) -> list[str]:
    return ["-", ""] if own.value is None else [f"{own.value:.3f}", f"[{own.low:.3f}, {own.high:.3f}]"]


def _plain(value: float | None, places: int = 3) -> str:
    return "-" if value is None else f"{value:.{places}f}"
