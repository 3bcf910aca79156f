"""The generator-discriminator gap: does a critic know better replies than a policy writes?

After Saunders et al. (arXiv 2206.05802, §5), who compare a model's samples with those that a discriminator picks among
them. Here the discriminator is the critic, and a judge that is independent of it says what is better. Three replies are
compared: any one of the prompt's samples, the one that the critic picks, and the one that the judge picks, which is the
most that picking can give.

Who picks takes the sample that wins most against the others, and any of those that win as much. That is the best one
wherever the judge's preferences are free of circles, and needs no scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from rlaif.critique.agreement import Z, difference, score
from rlaif.critique.figures import mean, missing, share
from rlaif.records.audit import Figure
from rlaif.records.gap import GapLine, GapModel, GapRow

SAME = 1e-9  # wins that differ by less are equal
NOTHING = "no prompt has all its judgements"


class _Replies(NamedTuple):
    """A measure of one prompt's replies: of any sample, of the critic's pick, of the judge's."""

    one: float
    picked: float
    best: float


class _Picks(NamedTuple):
    """A prompt whose judgements are all there: wins by the judge, and the samples that either picks."""

    row: GapRow
    wins: list[float]
    critic: list[int]
    judge: list[int]


def measure(
    model: str, spec: str, rows: Sequence[GapRow], directions: Mapping[str, int], *, unsampled: int, failed: int
) -> GapModel:
    """Everything about one model's rows.

    Args:
        directions: names of a scorer's scores that are worth a line.
    """
    pairs = [pair for row in rows for pair in row.pairs]
    picks = [found for row in rows if (found := _picks(row)) is not None]
    n = len(rows[0].samples) if rows else 0
    lines = [
        _line(f"as good as the best of {n}", [_among_best(own) for own in picks]),
        _line("wins against the other samples", [_of(own, own.wins) for own in picks]),
    ]
    for name in directions:
        scored = [own for own in picks if all(name in own.row.scores[text] for text in own.row.samples)]
        if scored:
            values = [_of(own, [own.row.scores[text][name] for text in own.row.samples]) for own in scored]
            lines.append(_line(name, values, bounded=False))
    return GapModel(
        model=model,
        spec=spec,
        prompts=len(rows),
        unsampled=unsampled,
        incomplete=len(rows) - len(picks),
        pairs=len(pairs),
        ties=sum(pair.judge == 0.5 for pair in pairs),
        unjudged=sum(pair.judge is None for pair in pairs),
        uncompared=sum(pair.critic is None for pair in pairs),
        failed=failed,
        discrimination=discrimination(rows),
        lines=lines,
    )


def discrimination(rows: Sequence[GapRow]) -> Figure:
    """How often the critic finds the better of two samples, where the judge finds one better; a tie of the critic's
    counts half. Each prompt is one number, the mean over its pairs of samples."""
    found = []
    for row in rows:
        known = {(pair.first, pair.second): pair for pair in row.pairs}
        right = []
        for at, first in enumerate(row.samples):
            for second in row.samples[at + 1 :]:
                pair = known.get((first, second)) or known.get((second, first))
                if pair is not None and pair.critic is not None and pair.judge not in (None, 0.5):
                    right.append(score(pair.critic, int(pair.judge == 0.0)))
        if right:
            found.append(fmean(right))
    return share(found, "the judge finds no sample better than another of the same prompt")


def _picks(row: GapRow) -> _Picks | None:
    """None where a judgement is missing."""
    by_critic, by_judge = _wins(row, "critic"), _wins(row, "judge")
    if by_critic is None or by_judge is None:
        return None
    return _Picks(row, by_judge, _most(by_critic), _most(by_judge))


def _wins(row: GapRow, who: Literal["critic", "judge"]) -> list[float] | None:
    """Each sample's mean probability to be better than another sample of the row, which of equal texts is one half."""
    better: dict[tuple[int, int], float] = {}
    for pair in row.pairs:
        p: float | None = getattr(pair, who)
        if p is None:
            return None
        better[pair.first, pair.second], better[pair.second, pair.first] = p, 1 - p
    return [
        fmean(better.get((own, other), 0.5) for place, other in enumerate(row.samples) if place != at)
        for at, own in enumerate(row.samples)
    ]


def _most(wins: Sequence[float]) -> list[int]:
    """Places of the highest."""
    return [at for at, value in enumerate(wins) if value >= max(wins) - SAME]


def _of(own: _Picks, values: Sequence[float]) -> _Replies:
    """A value of every sample, under the three ways; of equal picks the mean."""
    return _Replies(fmean(values), fmean(values[at] for at in own.critic), fmean(values[at] for at in own.judge))


def _among_best(own: _Picks) -> _Replies:
    return _of(own, [float(at in own.judge) for at in range(len(own.wins))])


def _line(name: str, values: Sequence[_Replies], *, bounded: bool = True) -> GapLine:
    """bounded: the values lie in [0, 1], so that intervals can be had that are never of width 0."""
    figure = share if bounded else mean
    one, picked, best = ([getattr(v, way) for v in values] for way in _Replies._fields)
    gap = mean([v.picked - v.one for v in values], NOTHING)
    if bounded and values:
        apart = difference("picked", "one", [(v.picked, v.one) for v in values])
        gap = Figure(value=apart.value, low=apart.low, high=apart.high, n=apart.n)
    most = mean([v.best - v.one for v in values], NOTHING)
    closed = missing("picking by the judge gives nothing that could be told from chance")
    if most.low is not None and most.high is not None and not most.low <= 0 <= most.high:
        closed = ratio([(v.picked - v.one, v.best - v.one) for v in values])
    return GapLine(
        name=name,
        one=figure(one, NOTHING),
        picked=figure(picked, NOTHING),
        best=figure(best, NOTHING),
        gap=gap,
        closed=closed,
    )


def ratio(parts: Sequence[tuple[float, float]]) -> Figure:
    """The sum of the first numbers over that of the second, which is not 0, of two rows at least; with the interval of
    a ratio of means (Cochran 1977, eq. 6.13): of each row the first less the ratio times the second counts as error."""
    whole = math.fsum(y for _, y in parts)
    value, n = math.fsum(x for x, _ in parts) / whole, len(parts)
    squares = math.fsum((x - value * y) ** 2 for x, y in parts)
    if squares <= SAME:  # the share is the same in every row: nothing says how sure that is
        return Figure(value=value, n=n)
    half = Z * math.sqrt(squares * n / (n - 1)) / abs(whole)
    return Figure(value=value, low=value - half, high=value + half, n=n)
