"""Ratings of several models from their comparisons (Bradley and Terry 1952), in Elo points.

P(i beats j) = sigma(b_i - b_j), fitted by maximum likelihood; a tie is half a win of each. Elo_i = 1000 + (400 / ln 10)
(b_i - mean b): 400 points more are odds of ten to one. A maximum exists only where, however the models are parted in
two groups, some model of each group won against one of the other (Ford 1957); else the reason is said.

Intervals are percentiles of a bootstrap over prompts: all comparisons of one prompt are drawn together, because they
share its replies.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import fmean

from rlaif.critique import logistic
from rlaif.records.evaluation import Rating, Ratings

REPLICATES = 500
MOST_LOST = 0.05  # share of replicates without ratings beyond which the others say too little
ELO = 400 / math.log(10)
MEAN = 1000.0

Game = tuple[str, str, float]  # two models, and the first one's score: 1, 0, or one half
Wins = dict[tuple[str, str], float]


def ratings(games: Mapping[str, Sequence[Game]], models: Sequence[str], seed: int) -> Ratings:
    """Rate models.

    Args:
        games: the comparisons of each prompt.
        models: all that are to be rated.
        seed: of the bootstrap.
    """
    prompts = [own for own in games.values() if own]
    wins = _wins(prompts)
    if (reason := unrated(wins, models)) is not None:
        return Ratings(ratings=[], prompts=len(prompts), replicates=0, lost=0, reason=reason)
    generator = random.Random(seed)
    drawn: dict[str, list[float]] = {model: [] for model in models}
    lost = 0
    for _ in range(REPLICATES):
        again = _wins(generator.choices(prompts, k=len(prompts)))
        if unrated(again, models) is not None:
            lost += 1
            continue
        for model, value in elo(again, models).items():
            drawn[model].append(value)
    steady = lost <= MOST_LOST * REPLICATES
    found = [
        Rating(
            model=model,
            elo=value,
            low=_percentile(drawn[model], 0.025) if steady else None,
            high=_percentile(drawn[model], 0.975) if steady else None,
        )
        for model, value in elo(wins, models).items()
    ]
    found.sort(key=lambda rating: -rating.elo)
    return Ratings(ratings=found, prompts=len(prompts), replicates=REPLICATES, lost=lost)


def elo(wins: Wins, models: Sequence[str]) -> dict[str, float]:
    """Elo points of models of which `unrated` has nothing to say.

    Raises:
        ArithmeticError: they have none.
    """
    free = list(models[:-1])  # the last one's strength is 0: only differences show
    rows = []
    for i, a in enumerate(models):
        for b in models[i + 1 :]:
            won, total = wins.get((a, b), 0.0), wins.get((a, b), 0.0) + wins.get((b, a), 0.0)
            if total:
                x = [float(model == a) - float(model == b) for model in free]
                rows.append(logistic.Row(x, won / total, total))
    strengths = [*logistic.fit(rows).coefficients, 0.0]
    middle = fmean(strengths)
    return {model: MEAN + ELO * (own - middle) for model, own in zip(models, strengths, strict=True)}


def unrated(wins: Wins, models: Sequence[str]) -> str | None:
    """Why these models cannot be rated, if they cannot."""
    met = {pair for pair in wins if wins[pair] or wins.get(pair[::-1])}
    both = met | {pair[::-1] for pair in met}
    group = _reached(models[0], both)
    if rest := [model for model in models if model not in group]:
        names = ", ".join(sorted(group))
        return f"no pair of replies connects {names} with {', '.join(rest)}: what was not compared cannot be rated"
    beats = {pair for pair, won in wins.items() if won > 0}
    for model in models:
        beaten = _reached(model, beats)
        if spared := [other for other in models if other not in beaten]:
            losers = ", ".join(sorted(beaten))
            return (
                f"{', '.join(spared)} never lost to {losers}, nor tied: no finite rating fits. "
                "More prompts, or a closer baseline, would show by how much"
            )
    return None


def _wins(prompts: Sequence[Sequence[Game]]) -> Wins:
    wins: Wins = {}
    for a, b, own in (game for games in prompts for game in games):
        wins[a, b] = wins.get((a, b), 0.0) + own
        wins[b, a] = wins.get((b, a), 0.0) + 1 - own
    return wins


def _reached(start: str, edges: set[tuple[str, str]]) -> set[str]:
    """Where one gets from a model along edges, itself included."""
    found, open_ = {start}, [start]
    while open_:
        here = open_.pop()
        following = {b for a, b in edges if a == here} - found
        found |= following
        open_ += following
    return found


def _percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies, between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
