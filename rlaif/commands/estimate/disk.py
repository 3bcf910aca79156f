"""Bytes of a run folder, stage by stage.

The constants are measured on runs/tinyworld (seed 0): bytes of the files, less those of the texts in them, over rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from statistics import fmean

from rlaif.commands.estimate.needs import Needs
from rlaif.pipeline import Plan, names_of
from rlaif.ports import registry
from rlaif.ports.asks import Range
from rlaif.records.prompt import Prompt
from rlaif.records.settings import Lora

STORE = 16_000  # an answer store that holds little
ANSWER = 250  # an answer in it, two indices and half-full pages included
ROW = 60  # keys around a text in a row
HEADER = 150  # the first row of a file
JUDGEMENT = 480
LABEL = 600
VOTE = 205
DATASET = 0.4  # parquet over JSON, for each configuration
METRICS = 800  # a line of training metrics
FILES = 62_000  # configuration, small tokenizer and template of a model
AUDIT = Range(1_000, 50_000)
REPORT = Range(100_000, 400_000)
TOKEN = Range(2.0, 5.0)  # bytes of text: 3.3 in tinyworld, above 4 in English
HEADLESS = 0.7  # a reward model has no output head: the least that is left of its backbone's bytes

Calls = Mapping[tuple[str, str], Range]  # by stage and purpose
Lengths = Mapping[str, Range]  # tokens of the texts of a name


def disk(plan: Plan, needs: Needs, calls: Calls, lengths: Lengths) -> dict[str, Range | None]:
    """Bytes of every stage's folder; None where it holds a model whose size is not known."""
    text = {name: length.times(TOKEN) for name, length in lengths.items()}
    prompt_rows = _size(needs.train) * len(needs.train) + _size(needs.test) * len(needs.test)
    stages = {"prompts": Range.exactly(prompt_rows + 2 * HEADER)}
    for stage in ("sample", "revise", "pairs", "label", "evaluate"):
        stages[stage] = Range.exactly(STORE)
        for purpose, count in ((p, count) for (s, p), count in calls.items() if s == stage):
            size = text.get("rationale" if stage == "label" else purpose, Range(0, 0))
            stages[stage] = stages[stage].plus(count.times(size.plus(Range.exactly(ANSWER))))
    stages |= {"audit": AUDIT, "report": REPORT}
    for stage, size in _rows(plan, needs, calls, text).items():
        stages[stage] = stages[stage].plus(size)
    models = {
        stage: size if size is None or stage == "sft" else size.times(plan.config.rounds)
        for stage, size in _models(plan, needs).items()
    }
    found = {**stages, **models}
    return {name: found[name] for name in names_of(plan.config)}


def _rows(plan: Plan, needs: Needs, calls: Calls, text: Lengths) -> dict[str, Range]:
    """The rows that the stages write, beside their answer stores."""
    prompt = Range.exactly(_size(needs.train) + ROW)
    replies = calls["sample", "samples"].times(text["samples"].plus(Range.exactly(ROW)))
    rounds = Range(0, 0)
    for (stage, purpose), count in calls.items():
        if stage == "revise":
            rounds = rounds.plus(count.times(text[purpose].plus(Range.exactly(ROW))))
    pair = text["pairs"].times(2).plus(prompt)
    votes = len(plan.constitution.principles) * (1 + len(plan.config.label.more_critics))
    judged = calls["label", "pairs"].plus(calls.get(("label", "escalated pairs"), Range(0, 0)))
    label = pair.plus(Range.exactly(LABEL + VOTE * votes))
    dataset = pair.times(DATASET * (1 + len(plan.constitution.axes)))
    held = Range.exactly(_size(needs.test) + ROW)
    for written in [ask.writes for ask in needs.asks["evaluate"] if ask.writes is not None]:
        held = held.plus(text[written]).plus(Range.exactly(ROW))
    rationale = text.get("rationale", Range(0, 0))
    prompts = Range.exactly(needs.sampled)
    return {
        "sample": prompt.times(prompts).plus(replies),
        "revise": prompt.times(prompts).plus(replies).plus(rounds),
        "pairs": prompt.times(needs.paired).plus(calls["pairs", "pairs"].times(text["pairs"])),
        "label": judged.times(rationale.plus(Range.exactly(JUDGEMENT))).plus(label.plus(dataset).times(needs.pairs)),
        "evaluate": held.times(len(needs.test)),
    }


def _models(plan: Plan, needs: Needs) -> dict[str, Range | None]:
    """Saved in float32. A checkpoint of PPO holds what is trained of policy and value model, each with two moments of
    its gradients; the last two checkpoints stay."""
    start, own, policy = plan.config.model, plan.config.reward, plan.config.policy
    origin = own.backbone or start
    weights, backbone = float32_size(start), float32_size(origin)
    lines = {stage: Range.exactly(FILES + METRICS * count.high) for stage, count in needs.steps.items()}
    if weights is None or backbone is None:
        return {stage: None for stage in lines}
    model, reward = Range.exactly(weights), Range(HEADLESS * backbone, backbone)
    adapter = _adapter(start, policy.lora)
    trained = model.plus(reward) if policy.lora is None else adapter.plus(_adapter(origin, policy.lora))
    checkpoints = min(2, -(-policy.updates // policy.checkpoint_every))
    return {
        "sft": lines["sft"].plus(model).plus(_adapter(start, plan.config.sft.lora)),
        "reward": lines["reward"].plus(reward.plus(_adapter(origin, own.lora)).times(own.members)),
        "policy": lines["policy"].plus(model).plus(adapter).plus(trained.times(3 * checkpoints)),
        **_cost_model(plan, lines, weights),
    }


def _cost_model(plan: Plan, lines: Mapping[str, Range], weights: int) -> dict[str, Range | None]:
    if plan.config.cost is None:
        return {}
    backbone = plan.config.cost.backbone
    size = weights if backbone is None else float32_size(backbone)
    if size is None:
        return {"cost": None}
    adapter = _adapter(backbone or plan.config.model, plan.config.cost.lora)
    return {"cost": lines["cost"].plus(Range(HEADLESS * size, size)).plus(adapter)}


def float32_size(reference: str) -> int | None:
    """Bytes of a model folder's weights in float32, as they are saved; None where it is no folder of this machine."""
    return sum(4 * prod(shape) for shape in _shapes(reference)) or None


def _adapter(reference: str, lora: Lora | None) -> Range:
    """Bytes of an adapter, at most one on every matrix; none where all weights are trained."""
    if lora is None:
        return Range(0, 0)
    return Range(0, 4 * lora.rank * sum(sum(shape) for shape in _shapes(reference) if len(shape) == 2))


def _shapes(reference: str) -> Iterator[list[int]]:
    """Of the weights in a model folder of this machine."""
    path = Path(registry.model_path(reference))
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else []:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        yield from (tensor["shape"] for name, tensor in header.items() if name != "__metadata__")


def _size(prompts: Sequence[Prompt]) -> float:
    return fmean(len(prompt.model_dump_json()) + 1 for prompt in prompts)
