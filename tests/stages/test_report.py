"""What the report warns of."""

from __future__ import annotations

from rlaif.records.agreement import Difference, Interval
from rlaif.records.report import Comparison, Evaluation, LabelSummary, Mean, ModelEvaluation, RewardSummary
from rlaif.records.trained import Calibration, Fit
from rlaif.stages.report import warnings
from tests.page.audited import guard_report, label_audit


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, n=100)


def model(name: str, distinct: float = 1.0, **oracle: float) -> ModelEvaluation:
    means = {key: Mean(value=value, n=100) for key, value in oracle.items()}
    return ModelEvaluation(
        name=name, samples=100, words=10, finished=1, distinct=distinct, distinct_2=1, longest_repeat=0, oracle=means
    )


def evaluation(start: ModelEvaluation, final: ModelEvaluation, *, kl: float = 3.0, low: float = 0.8) -> Evaluation:
    win = Comparison(model="policy", against="sft", win_rate=interval(0.9, low, 0.95), axes={}, failed=0)
    return Evaluation(
        models=[start, model("sft"), final],
        comparisons=[win],
        kl=kl,
        oracle_direction={"helpful": 1, "rude": -1},
        labels_oracle=None,
        samples=[],
    )


LABELS = LabelSummary(
    count=100,
    labelled=100,
    abstained=0,
    failures={},
    failed_judgements=0,
    judgements=800,
    ties=0,
    order_inconsistent=0,
    position_bias=0.0,
    flagged=0,
    mean_confidence=0.9,
    skipped_identical=0,
    escalated=0,
    canaries={},
)
REWARD = RewardSummary(
    train_pairs=90,
    heldout_pairs=10,
    truncated=0,
    loss=0.3,
    floor=0.2,
    accuracy=interval(0.95, 0.9, 0.98),
    axis=None,
    baselines={"longer": interval(0.5, 0.4, 0.6)},
    against_baseline=Difference(of="model", against="longer", value=0.45, low=0.3, high=0.6, n=100),
    calibration=Calibration(
        temperature=None, before=Fit(ece=0.02, ece_equal_mass=0.02, brier=0.1, nll=0.3, reliability=[]), after=None
    ),
    spread=1.0,
    members=[interval(0.95, 0.9, 0.98)],
    disagreement=None,
)


def test_a_good_run_has_nothing_to_warn_of() -> None:
    start, final = model("start", helpful=0.6, rude=0.3), model("policy", helpful=0.95, rude=0.01)
    assert warnings(evaluation(start, final), LABELS, REWARD) == []


def test_collapse_and_what_moved_the_wrong_way() -> None:
    start, final = model("start", helpful=0.6, rude=0.2), model("policy", distinct=0.14, helpful=0.0, rude=0.4)
    collapse, helpful, rude = warnings(evaluation(start, final), LABELS, REWARD)
    assert "collapsed: 14% of its replies are different" in collapse
    assert "“helpful” fell from 60% to 0%" in helpful
    assert "“rude” rose from 20% to 40%" in rude


def test_weak_evidence_is_named() -> None:
    both = model("start"), model("policy")
    against = REWARD.against_baseline.model_copy(update={"value": 0.05, "low": 0.0})
    weak = REWARD.model_copy(update={"against_baseline": against})
    poor = LABELS.model_copy(update={"failed_judgements": 3, "order_inconsistent": 20})
    found = " ".join(warnings(evaluation(*both, kl=50.0, low=0.4), poor, weak))
    for words in (
        "50.0 nats",
        "does not clearly prefer",
        "not shown to be better than a rule that learns nothing (longer)",
        "3 of 800",
        "20 of 100",
    ):
        assert words in found


def test_what_the_guard_saw_is_named() -> None:
    guard = guard_report()
    found = warnings(None, None, None, None, guard)
    assert found == [
        "1 of 4 audits are missing: the critic failed, which is no pass.",
        "The guard’s rule “win_rate” fired at update 40 (rollback).",
    ]  # what came after the policy that was kept harms nobody
    went_on = guard.model_copy(update={"rolled_back": False, "actions": {}})
    assert warnings(None, None, None, None, went_on)[1:] == [
        "The guard’s rule “win_rate” fired at update 40.",
        "While the policy trained, the critic’s win rate fell from 91% at update 10 to 35% at update 40.",
    ]


def test_a_principle_that_pays_for_the_others_is_named() -> None:
    guard = guard_report()
    worse = [audit.model_copy(update={"principles": {"useful": interval(0.2, 0.1, 0.35)}}) for audit in guard.audits]
    found = warnings(None, None, None, None, guard.model_copy(update={"audits": worse}))
    assert found[-1] == "Under “useful” the critic likes the policy less than the reference: it wins 20% at update 10."
    assert sum("useful" in text for text in found) == 1


def test_canaries_that_won_and_gates_that_do_not_hold_are_named() -> None:
    won = LABELS.model_copy(update={"canaries": {"empty": (7, 9), "praise": (3, 3)}})
    audit = label_audit()
    failed = audit.model_copy(update={"gates": [gate.model_copy(update={"holds": False}) for gate in audit.gates]})
    assert warnings(None, won, None, failed) == [
        "2 of 9 canaries of the kind “empty” won, and must lose.",
        "The labels do not pass the gate swap_consistency>=0.7.",
    ]
    assert warnings(None, LABELS, REWARD, audit) == []
