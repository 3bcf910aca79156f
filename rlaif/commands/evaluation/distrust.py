"""What to keep in mind with an evaluation's numbers, found in the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterator

from rlaif.records.evaluation import Against, EvaluationResult, Replies, SetResult

FEW = 100  # prompts, below which an interval is wider than 0.2
FAILED = 0.01  # share of judgements
STEADY = 0.8  # share of winners that swapping keeps
ON_CHOICES = 0.5  # probability of all choices of a question together


def distrust(found: EvaluationResult) -> list[str]:
    """One sentence each."""
    return [*_critic(found), *(line for own in found.sets for line in _set(found, own))]


def _critic(found: EvaluationResult) -> Iterator[str]:
    if found.training is not None and found.training.same_critic:
        yield (
            "the critic wrote the labels of training: its win rate says whether training did what it asked for, not "
            "whether that was right"
        )
    for one in found.contestants:
        if one.source == found.critic:
            yield f"the critic judges its own replies, those of {one.name}"
    if found.temperature == 0:
        yield "replies are greedy: they say nothing of what the models say at other temperatures"


def _set(found: EvaluationResult, own: SetResult) -> Iterator[str]:
    if 0 < own.prompts < FEW:
        yield f"{own.name}: {own.prompts} prompts are few, look at the intervals"
    for replies in own.replies:
        yield from _replies(own, replies)
    for one in own.comparisons:
        yield from _comparison(own, one)
    if own.ratings is not None and own.ratings.lost:
        lost, all_ = own.ratings.lost, own.ratings.replicates
        yield f"{own.name}: {lost} of {all_} bootstrap samples have no ratings, and count in no interval of Elo"


def _replies(own: SetResult, replies: Replies) -> Iterator[str]:
    if replies.missing:
        yield (
            f"{own.name}: {replies.model} has no reply to {replies.missing} of {own.prompts} prompts; they are left "
            "out, and may be the hard ones"
        )
    choices = replies.choices
    if choices is not None and choices.on_choices is not None and choices.on_choices < ON_CHOICES:
        yield (
            f"{own.name}: {replies.model} gives all choices together {choices.on_choices:.0%} of the probability: it "
            "would mostly say something else"
        )


def _comparison(own: SetResult, one: Against) -> Iterator[str]:
    about = f"{own.name}, {one.model} against {one.against}"
    if one.judgements and one.failed > FAILED * one.judgements:
        yield f"{about}: {one.failed} of {one.judgements} judgements failed"
    if one.order_consistent.value is not None and one.order_consistent.value < STEADY:
        kept = one.order_consistent.value
        yield f"{about}: the critic keeps its winner in {kept:.0%} of the pairs when the replies change places"
    if one.longer.low is not None and one.longer.value is not None and one.longer.low > 0.5:
        yield f"{about}: the longer reply won {one.longer.value:.0%} of the pairs; see the length-corrected rate"
    if one.corrected.extrapolated:
        yield f"{about}: one model's replies are longer throughout, so the length-corrected rate is an extrapolation"
