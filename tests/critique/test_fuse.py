"""Several sources, one label: by hand, and the properties that any fusion must have."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.critique.fuse import Sources, fuse, pair_key
from rlaif.records.label import AxisLabel, Label, Opinion, Source, Vote
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.sources import Said, SourceFile

MESSAGES = [Message(role="user", content="q")]
PAIR = Pair(id="p", messages=MESSAGES, responses=("one", "two"))
SWAPPED = Pair(id="s", messages=MESSAGES, responses=("two", "one"))
VOTE = Vote(principle_id="a", critic="c", axis="x", form="compare", weight=1, p_ab=0.9, p_ba=0.7, p=0.8, failed=0)


def by_critic(p: float | None, weight: float = 1.0, *, pair: Pair = PAIR, abstained: bool = False) -> Label:
    return Label(
        pair=pair,
        source="critic",
        critic="c",
        constitution="k@1.0.0",
        p=p,
        weight=weight,
        abstained=abstained,
        axes={"x": AxisLabel(p=p, coverage=weight)},
        votes=[VOTE],
        order_consistent=True,
        position_bias=0.1,
        flags=["empty-response"],
    )


def by(source: Source, p: float | None, weight: float, *, pair: Pair = PAIR) -> Label:
    return Label(
        pair=pair,
        source=source,
        critic=None,
        constitution=None,
        p=p,
        weight=0.0 if p is None else 1.0,
        axes={},
        votes=[],
        opinions=[Opinion(source=source, name=f"{source}.jsonl", weight=weight, p=p)],
        flags=[],
    )


def test_by_hand() -> None:
    # (1 * 0.6 + 3 * 1 + 0.5 * 0.2) / 4.5; half of the critic's principles were answered: (0.5 + 3 + 0.5) / 4.5
    label = fuse(PAIR, [by_critic(0.6, 0.5), by("human", 1.0, 3.0), by("labelled", 0.2, 0.5)])
    assert label.p == pytest.approx(3.7 / 4.5, abs=1e-12)
    assert label.weight == pytest.approx(4.0 / 4.5, abs=1e-12)
    assert (label.source, label.abstained) == ("fused", False)
    assert [(o.source, o.name, o.weight, o.p) for o in label.opinions] == [
        ("critic", "c", 1.0, 0.6),
        ("human", "human.jsonl", 3.0, 1.0),
        ("labelled", "labelled.jsonl", 0.5, 0.2),
    ]
    assert (label.votes, label.order_consistent, label.position_bias) == ([VOTE], True, 0.1)
    assert (label.critic, label.constitution, label.axes["x"].p) == ("c", "k@1.0.0", 0.6)


def test_a_critic_weighs_what_the_rule_says() -> None:
    label = fuse(PAIR, [by_critic(0.0), by("human", 1.0, 1.0)], {"c": 3.0})
    assert label.p == pytest.approx(0.25)


def test_several_critics_carry_their_own_weights() -> None:
    opinions = [
        Opinion(source="critic", name="c", weight=2.0, p=0.5),
        Opinion(source="critic", name="d", weight=1.0, p=None),  # asked, and failed
    ]
    two = by_critic(0.5, 2 / 3).model_copy(update={"opinions": opinions})
    label = fuse(PAIR, [two, by("human", 1.0, 1.0)])
    assert label.p == pytest.approx(2 / 3)  # (2 * 0.5 + 1) / 3: the failed one moves nothing
    assert label.weight == pytest.approx(3 / 4)


def test_the_other_order_is_mirrored() -> None:
    label = fuse(PAIR, [by_critic(0.6), by("human", 0.1, 1.0, pair=SWAPPED)])
    assert label.p == pytest.approx(0.75) and label.pair == PAIR
    assert [o.p for o in label.opinions] == [0.6, 0.9]


def test_who_does_not_speak_moves_nothing() -> None:
    silent = by_critic(None, 0.0)
    assert fuse(PAIR, [silent, by("human", 1.0, 3.0)]).p == 1.0
    assert fuse(PAIR, [silent, by("human", 1.0, 3.0)]).weight == 0.75
    assert fuse(PAIR, [silent, by("human", 1.0, 3.0)]).source == "human"
    unsure = by_critic(0.48, 0.0, abstained=True)
    label = fuse(PAIR, [unsure, by("human", 1.0, 3.0)])
    assert (label.p, label.weight, label.abstained, label.source) == (1.0, 0.75, False, "human")
    label = fuse(PAIR, [unsure, by("human", None, 3.0)])
    assert label.p == pytest.approx(0.48) and (label.weight, label.abstained, label.source) == (0.0, True, "critic")
    label = fuse(PAIR, [silent, by("human", None, 3.0)])
    assert (label.p, label.weight, label.abstained) == (None, 0.0, False)


def test_only_labels_of_one_pair_are_fused() -> None:
    other = PAIR.model_copy(update={"responses": ("one", "three")})
    for labels in ([], [by_critic(0.5), by_critic(0.5)], [by("human", 1.0, 1.0, pair=other)]):
        with pytest.raises(ValueError):
            fuse(PAIR, labels)


probabilities = st.one_of(st.none(), st.floats(0, 1))
others = st.lists(
    st.builds(
        by,
        st.sampled_from(["human", "labelled", "self-consistency"]),
        probabilities,
        st.floats(0.1, 10),
        pair=st.sampled_from([PAIR, SWAPPED]),
    ),
    max_size=4,
)
critics = st.builds(by_critic, st.floats(0, 1), st.floats(0.1, 1), abstained=st.booleans())


@given(critics, others, st.randoms(use_true_random=False))
def test_the_order_of_sources_does_not_matter(critic: Label, labels: list[Label], rng: random.Random) -> None:
    mixed = [critic, *labels]
    rng.shuffle(mixed)
    assert fuse(PAIR, mixed) == fuse(PAIR, [critic, *labels])


@given(critics)
def test_one_source_alone_is_unchanged(critic: Label) -> None:
    assert fuse(PAIR, [critic]) == critic
    human = by("human", critic.p, 3.0)
    assert fuse(PAIR, [human]) == human


@given(critics, others)
def test_swapping_the_responses_mirrors(critic: Label, labels: list[Label]) -> None:
    straight = fuse(PAIR, [critic, *labels])
    turned = critic.model_copy(update={"pair": SWAPPED, "p": 1 - (critic.p or 0.0)})
    mirrored = fuse(SWAPPED, [turned, *labels])
    assert mirrored.p == pytest.approx(1 - (straight.p or 0.0), abs=1e-12)
    assert mirrored.weight == pytest.approx(straight.weight) and mirrored.source == straight.source


@given(critics, others, st.floats(0.1, 10))
def test_a_failed_source_changes_nothing_but_the_weight(critic: Label, labels: list[Label], weight: float) -> None:
    before = fuse(PAIR, [critic, *labels])
    after = fuse(PAIR, [critic, *labels, by("human", None, weight)])
    assert after.p == pytest.approx(before.p, abs=1e-12)
    assert after.weight <= before.weight and (after.weight < before.weight or before.weight == 0)
    same = {"weight": 0.0, "opinions": [], "p": None}
    assert after.model_copy(update=same) == before.model_copy(update=same)


@given(critics, others)
def test_the_mean_lies_within_the_opinions(critic: Label, labels: list[Label]) -> None:
    label = fuse(PAIR, [critic, *labels])
    said = [critic.p or 0.0] + [x.p if x.pair == PAIR else 1 - x.p for x in labels if x.p is not None]
    assert label.p is not None and min(said) - 1e-12 <= label.p <= max(said) + 1e-12
    assert 0 <= label.weight <= 1 + 1e-12


def test_sources_are_met_by_their_texts() -> None:
    sources = Sources()
    gold, marks = SourceFile("human", "d/gold.jsonl", 2.0), SourceFile("labelled", "marks.jsonl", 1.0)
    alone = Pair(id="row-7", messages=MESSAGES, responses=("one", "three"))
    # Two people of three prefer the first; then what only a source knows, once in each order.
    sources.add(gold, [Said(PAIR, 1.0), Said(SWAPPED, 0.0), Said(PAIR, 0.0), Said(alone, 1.0)])
    sources.add(marks, [Said(alone.model_copy(update={"id": "m", "responses": ("three", "one")}), 1.0)])
    label = sources.join(by_critic(0.5), {})
    assert label.p == pytest.approx((0.5 + 2 * 2 / 3) / 3)
    untouched = by_critic(0.5, pair=PAIR.model_copy(update={"responses": ("x", "y")}))
    assert sources.join(untouched, {}) is untouched
    (rest,) = sources.rest([SWAPPED])
    assert rest.pair.id == f"human:row-7:{pair_key(alone)[:8]}" and rest.pair.responses == ("one", "three")
    assert rest.p == pytest.approx(2 / 3) and (rest.source, rest.critic, rest.axes) == ("fused", None, {})
    assert len(sources.rest([])) == 2
    assert sources.choice(SWAPPED) == pytest.approx(1 / 3) and sources.choice(untouched.pair) is None
