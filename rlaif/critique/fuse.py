"""Labels of one pair from several sources become one label: a pure function.

The probability is the mean over the sources that have one and do not abstain, by weight. The label's weight is the
share of the sources' weight that was answered: each source's weight times its own label's weight, over the sum of the
sources' weights. So a source that failed or abstains lowers the weight, and moves nothing. Each critic is a source with
its weight of the rule, 1 where that says nothing.

Votes, axes and signs are the critics' own: other sources speak of the pair as a whole. Temperature and abstention are
applied to the critics' label before it comes here, never to what people chose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rlaif.critique.flags import flags_of
from rlaif.records.files import content_hash
from rlaif.records.label import Label, Opinion
from rlaif.records.pair import Pair
from rlaif.records.sources import Said, SourceFile


def pair_key(pair: Pair) -> str:
    """Identity of a pair by its texts: the conversation and the two responses, in either order."""
    return content_hash([m.model_dump() for m in pair.messages], sorted(pair.responses))


def fuse(pair: Pair, labels: Sequence[Label], critic_weights: Mapping[str, float] | None = None) -> Label:
    """The label of `pair` from labels of the same texts, whose responses may stand in the other order.

    A single label of this pair is returned as it is.

    Args:
        labels: one a source, in any order; at most one is the critics', and that one is of this very pair.
        critic_weights: weight of a critic that voted alone; several carry their weights in `opinions`.

    Raises:
        ValueError: no label, two of critics, or one of other texts.
    """
    own = [label for label in labels if label.source == "critic"]
    if not labels or len(own) > 1 or (own and own[0].pair.responses != pair.responses):
        raise ValueError("needs labels of one pair, at most one of them the critics', and that in the pair's order")
    turned = [_turned(label, pair, critic_weights or {}) for label in labels]
    if len(turned) == 1:
        return turned[0].model_copy(update={"opinions": labels[0].opinions and turned[0].opinions})
    probable = [label for label in turned if label.p is not None]
    speaking = [label for label in probable if not label.abstained]
    opinions = [o for label in turned for o in label.opinions]
    answered = math.fsum(label.weight * math.fsum(o.weight for o in label.opinions) for label in turned)
    base = next((label for label in turned if label.source == "critic"), min(turned, key=lambda label: label.source))
    return base.model_copy(
        update={
            "source": "fused" if len(speaking) > 1 else speaking[0].source if speaking else base.source,
            "p": _mean([(_answered_weight(label), label.p) for label in speaking or probable]),
            "weight": answered / math.fsum(o.weight for o in opinions),
            "abstained": bool(probable) and not speaking,
            "opinions": sorted(opinions, key=_rank),
        }
    )


class Sources:
    """What all sources say, by pair; held in memory while labels stream past."""

    def __init__(self) -> None:
        self._said: dict[str, dict[SourceFile, list[Said]]] = {}

    def add(self, source: SourceFile, said: Iterable[Said]) -> None:
        for entry in said:
            self._said.setdefault(pair_key(entry.pair), {}).setdefault(source, []).append(entry)

    def join(self, label: Label, critic_weights: Mapping[str, float]) -> Label:
        """The critics' label with what the sources say of its pair."""
        found = self._labels(label.pair) if self._said else []
        return fuse(label.pair, [label, *found], critic_weights) if found else label

    def rest(self, pairs: Iterable[Pair]) -> list[Label]:
        """Labels of all pairs but these, in the order in which the sources name them. Their ids hold a hash of their
        texts, so that they meet no others."""
        seen = {pair_key(pair) for pair in pairs} if self._said else set()
        labels = []
        for key, by_source in self._said.items():
            if key not in seen:
                source, said = next(iter(by_source.items()))
                name = f"{source.kind}:{said[0].pair.id}:{key[:8]}"
                pair = said[0].pair.model_copy(update={"id": name})
                labels.append(fuse(pair, self._labels(pair)))
        return labels

    def choice(self, pair: Pair) -> float | None:
        """The mean P(first is better) of all that was said of a pair, None where nothing was."""
        return _mean([(1.0, label.p) for label in self._labels(pair)])

    def _labels(self, pair: Pair) -> list[Label]:
        """A label of the pair by each source. Where one file names a pair several times, its mean counts."""
        found = self._said.get(pair_key(pair), {})
        return [
            _label(pair, source, _mean([(1.0, _facing(entry.p, entry.pair, pair)) for entry in said]))
            for source, said in found.items()
        ]


def _label(pair: Pair, source: SourceFile, p: float | None) -> Label:
    return Label(
        pair=pair,
        source=source.kind,
        critic=None,
        constitution=None,
        p=p,
        weight=1.0,
        axes={},
        votes=[],
        opinions=[Opinion(source=source.kind, name=source.name, weight=source.weight, p=p)],
        flags=flags_of(pair),
    )


def _turned(label: Label, pair: Pair, critic_weights: Mapping[str, float]) -> Label:
    """The same label of `pair`, with its opinions listed."""
    name = label.critic or ""
    alone = Opinion(source=label.source, name=name, weight=critic_weights.get(name, 1.0), p=label.p)
    p = _facing(label.p, label.pair, pair)
    opinions = [o.model_copy(update={"p": _facing(o.p, label.pair, pair)}) for o in label.opinions or [alone]]
    return label.model_copy(update={"pair": pair, "p": p, "opinions": opinions})


def _answered_weight(label: Label) -> float:
    return math.fsum(o.weight for o in label.opinions if o.p is not None)


def _rank(opinion: Opinion) -> tuple[str, str, float, float]:
    return opinion.source, opinion.name, opinion.weight, -1.0 if opinion.p is None else opinion.p


def _facing(p: float | None, said_of: Pair, pair: Pair) -> float | None:
    """P(first of `pair`) from P(first of `said_of`), which has the same texts."""
    if said_of.responses == pair.responses and said_of.messages == pair.messages:
        return p
    if said_of.responses != pair.responses[::-1] or said_of.messages != pair.messages:
        raise ValueError(f"pairs {said_of.id} and {pair.id} are not of the same texts")
    return None if p is None else 1 - p


def _mean(entries: Sequence[tuple[float, float | None]]) -> float | None:
    answered = [(weight, p) for weight, p in entries if p is not None]
    total = math.fsum(weight for weight, _ in answered)
    return min(1.0, max(0.0, math.fsum(w * p for w, p in answered) / total)) if total else None
