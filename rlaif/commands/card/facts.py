"""Facts about a run by topic, each with the artifact that it was read from. What no artifact says is no fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rlaif.commands.card.source import CONFIG, Source
from rlaif.ports import registry
from rlaif.records.agreement import Difference, Interval
from rlaif.records.audit import FIGURES, Audit, Figure
from rlaif.records.card import Fact
from rlaif.records.guard import Audit as GuardAudit
from rlaif.records.report import Evaluation, LabelSummary, RewardSummary
from rlaif.records.trained import CostSummary

GUARDED = "policy/audits.jsonl"
METRICS = "policy/metrics.jsonl"
LABELLING = "label/labelling.json"
SUMMARY = "label/summary.json"
AUDIT = "audit/audit.json"
REWARD = "reward/summary.json"
COST = "cost/summary.json"
EVALUATION = "evaluate/evaluation.json"
# Of the last update, in the order shown; units as in docs/ppo.md.
TRAINED = {
    "score": "mean reward, last update",
    "kl": "KL from the start of training, last update, nats a reply",
    "kl_coefficient": "KL coefficient, last update",
    "multiplier": "Lagrange multiplier, last update",
    "cost": "mean cost, last update",
    "tokens": "tokens a reply, last update",
    "entropy": "entropy, last update, nats a token",
}


def number(value: float) -> str:
    """Four digits, and no more zeros than needed."""
    return f"{value:.4g}"


def share(found: Interval | Difference | Figure) -> str | None:
    """A proportion with its 95 % interval."""
    if found.value is None:
        return None
    interval = "" if found.low is None or found.high is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}, n = {found.n}"


class Facts(list[Fact]):
    """A list that leaves out what is not known."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def say(self, name: str, value: Any) -> None:
        """Add a fact, unless it is None."""
        if value is not None:
            text = number(value) if isinstance(value, float) else _words(value)
            self.append(Fact(name=name, value=text, source=self._source))


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(own)}" for key, own in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_words(own) for own in value) or "none"
    return number(value) if isinstance(value, float) else "none" if value is None else str(value)


def settings(source: Source, names: dict[str, str]) -> list[Fact]:
    """Settings of the run file, by their dotted names."""
    found = Facts(CONFIG)
    for path, name in names.items():
        found.say(name, source.setting(path))
    return found


def models(source: Source) -> list[Fact]:
    """What the policy and its reward began as."""
    found = Facts(CONFIG)
    start = source.setting("model")
    found.say("start policy", start)
    if start in registry.SHIPPED_MODELS:
        found.say("pretraining data of the start policy", "text that rlaif generated, in a made-up language")
    found.say("reward model began as", source.setting("reward.backbone") or (start and "the fine-tuned start policy"))
    found.say("model that revised", source.setting("revise.model"))
    return found


def evaluators(source: Source) -> list[Fact]:
    """Who judged, under what."""
    about = source.labelling
    if about is None:
        return settings(source, {"critic": "critic", "constitution": "constitution"})
    found = Facts(source.at(LABELLING))
    for critic in about.critics:
        found.say("critic", critic.spec)
        found.say(f"identity of {critic.spec}", critic.identity)
        found.say(
            f"{critic.spec} answered by", critic.mode + (", constrained to the options" if critic.choices else "")
        )
    constitution = about.constitution
    found.say("constitution", f"{constitution.name}@{constitution.version}, language {constitution.language}")
    found.say("summary of the constitution", constitution.summary)
    for principle in constitution.principles:
        found.say(f"principle {principle.id} ({principle.axis}, weight {principle.weight:g})", principle.prefer)
    found.say("few-shot examples in the critic's prompt", "none: rlaif's templates have none")
    return found


def examples(source: Source) -> list[Fact]:
    """What was judged, and how it was chosen."""
    found = settings(
        source,
        {
            "prompts.train": "prompts to train on",
            "prompts.test": "held-out prompts",
            "pairs.prompts": "prompts that pairs were sampled for",
            "pairs.samples_per_prompt": "replies a prompt",
            "pairs.temperature": "temperature of the replies",
        },
    )
    own = Facts(source.at(SUMMARY))
    if (summary := source.record(source.at(SUMMARY), LabelSummary)) is not None:
        own.say("pairs labelled", f"{summary.labelled} of {summary.count}")
        own.say("pairs left out because both replies were the same", summary.skipped_identical)
        own.say("pairs flagged: text that talks to the judge, or control tokens", summary.flagged)
        own.say("canaries, lost as they must of judged", {k: f"{a} of {b}" for k, (a, b) in summary.canaries.items()})
    return [*found, *own]


def feedback(source: Source) -> list[Fact]:
    """The kind of feedback."""
    about = source.labelling
    if about is None:
        return []
    found = Facts(source.at(LABELLING))
    config = about.config
    found.say("labels", "soft: a probability for each pair, over all principles, both orders averaged")
    found.say("orders", "both, always")
    found.say("mode that was asked for", config.mode)
    found.say("clamp after a written rationale", config.clamp)
    found.say("abstention band", config.abstain or "none")
    found.say("temperature of labels", config.temperature)
    found.say("principles asked about each pair", config.principles)
    found.say("rewordings asked too", config.paraphrases)
    found.say("further critics", config.more_critics)
    found.say("stronger critic for unsure pairs", config.escalate or "none")
    found.say("other sources of labels", config.sources)
    return found


def quality(source: Source) -> tuple[list[Fact], list[str]]:
    """Figures of the labels' audit, and those that could not be measured, with the reason."""
    found, unknown = Facts(source.at(AUDIT)), []
    audit = source.record(source.at(AUDIT), Audit)
    if audit is not None:
        for name, figure in sorted(audit.figures.items(), key=lambda item: list(FIGURES).index(item[0])):
            found.say(name, share(figure))
            if figure.value is None:
                unknown.append(f"{name}: {figure.reason}")
        for gate in audit.gates:
            found.say(f"gate {gate.gate}", "holds" if gate.holds else "does not hold")
        return found, unknown
    own = Facts(source.at(SUMMARY))
    if (summary := source.record(source.at(SUMMARY), LabelSummary)) is not None:
        own.say("failed judgements", f"{summary.failed_judgements} of {summary.judgements}")
        own.say("reasons of failure", summary.failures)
        own.say("ties", summary.ties)
        own.say("labels whose winner changed with the order", summary.order_inconsistent)
        own.say("position bias, mean P(option A) - 1/2", summary.position_bias)
        own.say("mean confidence", summary.mean_confidence)
    return own, ["agreement with people, calibration and intervals: the labels were not audited"]


def reward_training(source: Source) -> list[Fact]:
    """How reward and cost model were fitted."""
    found = settings(
        source,
        {
            "reward.epochs": "epochs of the reward model",
            "reward.members": "reward models in the ensemble",
            "reward.combine": "how their scores are combined",
            "cost.axis": "axis of the cost model",
            "policy.rewards": "terms of the reward",
        },
    )
    own = Facts(source.at(REWARD))
    if (summary := source.record(source.at(REWARD), RewardSummary)) is not None:
        own.say("loss", "Bradley-Terry cross-entropy against soft labels")
        own.say("pairs to train on", summary.train_pairs)
        own.say("normalisation", f"scores have mean 0 and deviation 1; they were divided by {number(summary.spread)}")
        own.say("disagreement of the ensemble, mean deviation", summary.disagreement)
    return [*found, *own]


def reward_quality(source: Source) -> list[Fact]:
    """Reward and cost model on held-out labels."""
    found = Facts(source.at(REWARD))
    if (summary := source.record(source.at(REWARD), RewardSummary)) is not None:
        found.say("accuracy on held-out labels", share(summary.accuracy))
        found.say(
            f"accuracy minus that of the rule “{summary.against_baseline.against}”", share(summary.against_baseline)
        )
        found.say(
            "held-out loss, and the entropy of the labels below which it cannot fall", [summary.loss, summary.floor]
        )
        found.say("expected calibration error", summary.calibration.before.ece)
    cost = Facts(source.at(COST))
    if (harm := source.record(source.at(COST), CostSummary)) is not None:
        cost.say(f"cost model of {harm.axis}: accuracy on held-out labels", share(harm.accuracy))
        cost.say("held-out replies on the right side of zero", share(harm.signs))
    return [*found, *cost]


def policy_quality(source: Source) -> list[Fact]:
    """The policy beside what it began as, on held-out prompts."""
    found = Facts(source.at(EVALUATION))
    evaluation = source.record(source.at(EVALUATION), Evaluation)
    if evaluation is None:
        return found
    for one in evaluation.comparisons:
        found.say(f"win rate of {one.model} over {one.against}, by the critic", share(one.win_rate))
        for axis, interval in one.axes.items():
            found.say(f"{one.model} over {one.against} on axis {axis}", share(interval))
    if evaluation.kl is not None:
        found.say("KL from the fine-tuned policy, nats a reply", evaluation.kl)
    found.say("share of different replies", {model.name: model.distinct for model in evaluation.models})
    found.say("words a reply", {model.name: model.words for model in evaluation.models})
    for name in dict.fromkeys(name for model in evaluation.models for name in model.oracle):
        means = {
            m.name: f"{m.oracle[name].value:.3f} of {m.oracle[name].n}" for m in evaluation.models if name in m.oracle
        }
        found.say(f"{name}, by the configured scorer", means)
    return found


def internal_audits(source: Source) -> list[Fact]:
    """Audits while the policy was trained."""
    found = Facts(source.at(GUARDED))
    audits = source.rows(source.at(GUARDED), GuardAudit, "audits")
    if audits:
        found.say("audits by the critic while the policy learned", len(audits))
        found.say("audits that are missing", sum(a.missing is not None for a in audits))
        found.say("rules that fired, by update", _fired(audits))
    return found


def _fired(audits: Sequence[GuardAudit]) -> str:
    return "; ".join(f"{name} at {a.update}" for a in audits for name in a.fired) or "none"


def own(source: Source) -> list[Fact]:
    """KL budget, multiplier, early stop, meters of reward hacking, seed."""
    found = settings(
        source,
        {
            "seed": "seed",
            "rounds": "rounds of pairs, labels, reward and policy",
            "policy.algorithm": "algorithm",
            "policy.settings": "settings of the algorithm that were given",
            "policy.updates": "updates planned",
            "policy.guard": "guard",
        },
    )
    rows = source.metrics(source.at(METRICS))
    trained = Facts(source.at(METRICS))
    if rows:
        trained.say("updates done", max(row.step for row in rows))
        for name, words in TRAINED.items():
            trained.say(words, rows[-1].values.get(name))
        trained.say("Lagrange multiplier over training", _path(row.values.get("multiplier") for row in rows))
        trained.say(
            "largest gap between sampler and trainer, nats", _most(row.values.get("canary_gap") for row in rows)
        )
    audited = Facts(source.at(GUARDED))
    held = [a for a in source.rows(source.at(GUARDED), GuardAudit, "audits") if a.missing is None]
    if held:
        last = held[-1]
        audited.say("update of the last audit", last.update)
        audited.say("win rate over the reference", None if last.win_rate is None else share(last.win_rate))
        for name in ("distinct", "distinct_2", "longest_repeat", "compression", "tokens", "refusals"):
            audited.say(f"{name}: policy, reference", [getattr(last.policy, name), getattr(last.reference, name)])
    return [*found, *trained, *audited]


def _path(values: Iterable[float | None]) -> str | None:
    """First, lowest, highest and last value."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return ", ".join(
        f"{name} {number(value)}"
        for name, value in (("first", known[0]), ("lowest", min(known)), ("highest", max(known)), ("last", known[-1]))
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
