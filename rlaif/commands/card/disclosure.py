"""The audit list of "Open Problems and Fundamental Limitations of RLHF" (arXiv 2307.15217 §5), item by item: what the
artifacts say, and what nothing here says. People may add what they know, which is shown as theirs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from rlaif.commands.card import facts
from rlaif.commands.card.source import Source
from rlaif.records import strict_yaml
from rlaif.records.card import Fact, Section

TITLES = {
    "pretraining": "Pretraining data and known biases of policy, labeller and reward model",
    "evaluators": "Evaluators: labelling model and version, constitution and who wrote it, prompts, few-shots",
    "examples": "How examples were chosen; representativeness; adversarial share; precautions against poisoning",
    "feedback": "Type of feedback, and why",
    "quality": "Quality control: agreement with people, swap consistency, calibration, failures",
    "reward": "Loss of reward and cost model, handling of disagreement, normalisation",
    "reward_evaluation": "Evaluation of the reward model, red-teaming included",
    "policy_evaluation": "Evaluation of the policy, red-teaming and risky capabilities included",
    "audits": "Internal and external audits",
    "risks": "Expected risks and anticipated failure modes",
    "monitoring": "Monitoring after deployment, and the plan for correction",
    "optimisation": "KL budget, multiplier, early stop, meters of reward hacking, seed",
}
# What no artifact of rlaif can say.
NEVER_KNOWN = {
    "pretraining": ["known biases of policy, critic and reward model", "pretraining data of the critic"],
    "evaluators": ["who wrote the constitution, and whom it speaks for"],
    "examples": [
        "whether the prompts represent those of the use that is meant",
        "the share of adversarial prompts",
        "precautions against poisoned prompts, but for the flags",
    ],
    "feedback": ["why this type of feedback was chosen"],
    "quality": [],
    "reward": ["how disagreement between the people that a critic stands for is handled: it is not"],
    "reward_evaluation": ["red-teaming of the reward model: no artifact records any"],
    "policy_evaluation": ["red-teaming of the policy, and risky capabilities: no artifact records any"],
    "audits": ["external audits"],
    "risks": ["expected risks of the use that is meant, and anticipated failure modes"],
    "monitoring": ["everything: rlaif does not see deployment"],
    "optimisation": [],
}
LICENSE = "license"
NO_STAGE = "every figure: the stage that measures them is not finished, or what it wrote cannot be read"


def sections(source: Source, notes: Mapping[str, str], warnings: list[str]) -> list[Section]:
    """Every item of the list, in its order."""
    measured, unmeasured = facts.quality(source)
    known: dict[str, list[Fact]] = {
        "pretraining": facts.models(source),
        "evaluators": facts.evaluators(source),
        "examples": facts.examples(source),
        "feedback": facts.feedback(source),
        "quality": measured,
        "reward": facts.reward_training(source),
        "reward_evaluation": facts.reward_quality(source),
        "policy_evaluation": facts.policy_quality(source),
        "audits": facts.internal_audits(source),
        "risks": [Fact(name="warning", value=text, source="report/report.json") for text in warnings],
        "monitoring": [],
        "optimisation": facts.own(source),
    }
    missing = {**NEVER_KNOWN, "quality": unmeasured}
    if not any(fact.name.startswith("pretraining data") for fact in known["pretraining"]):
        missing["pretraining"] = ["pretraining data of the start policy", *NEVER_KNOWN["pretraining"]]
    if not known["audits"]:
        missing["audits"] = ["internal audits while the policy learned: there was no guard", *NEVER_KNOWN["audits"]]
    for name in ("reward_evaluation", "policy_evaluation"):
        if not known[name]:
            missing[name] = [NO_STAGE, *NEVER_KNOWN[name]]
    return [
        Section(id=name, title=title, facts=known[name], unknown=missing[name], stated=notes.get(name))
        for name, title in TITLES.items()
    ]


def read_notes(path: Path | None) -> dict[str, str]:
    """What the authors say, by item, and perhaps a `license`.

    Raises:
        InputError: it is no YAML mapping of texts, or there is no such item.
    """
    if path is None:
        return {}
    document = strict_yaml.load(path)
    known = [*TITLES, LICENSE]
    notes = {}
    for name, text in document.data.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise document.error(f"there is no item {name!r}", fix=f"{guess}known: {', '.join(known)}", field=name)
        if not isinstance(text, str) or not text.strip():
            raise document.error("this is no text", fix="write what you know, or leave the item out", field=name)
        notes[name] = text
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", notes.get(LICENSE, "unknown")):
        fix = "use its identifier on the Hub, such as apache-2.0"
        raise document.error("this is no license identifier", fix=fix, field=LICENSE)
    return notes
