"""pairs -> judgements -> labels: the critic is asked about every principle in both orders, and the labels follow.

Answers are stored before they are used; the labels are a pure function of them. The published form is parquet in the
shape that preference trainers read.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import Field

from rlaif.critique import aggregate
from rlaif.critique.compare import Question, questions
from rlaif.ports import answers
from rlaif.ports.engines import Engines
from rlaif.records import dataset
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows, write_rows, write_text
from rlaif.records.inputs import read_pairs
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.report import LabelSummary
from rlaif.records.sample import Sample
from rlaif.records.settings import Lineage, Settings
from rlaif.records.store import AnswerStore

TIE = 0.05  # counted as a tie in summaries; labels keep their probability


class Config(Settings):
    """How pairs are judged."""

    paraphrases: bool = False  # also ask each principle's rewordings, and average
    max_failure_rate: float = Field(default=0.1, ge=0, le=1)


class Inputs(NamedTuple):
    """Pairs come from `samples` (two responses a prompt) or from a `pairs` file of any known shape."""

    constitution: Constitution
    critic: str  # SPEC
    samples: Path | None
    pairs: str | None
    limit: int | None
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `labels.jsonl`, `judgements.jsonl`, `summary.json` and `dataset/`.

    Raises:
        InputError: no pairs.
        RunHalted: more than `max_failure_rate` of the judgements failed.
    """
    pairs, identical = _pairs(inputs)
    asked: list[Question] = [
        q for pair in pairs for q in questions(pair, inputs.constitution, paraphrases=config.paraphrases)
    ]
    store = AnswerStore(inputs.out / "answers.sqlite")
    judged, _ = answers.judgements(
        engines.chat(inputs.critic),
        asked,
        store,
        engines.reporter,
        what="judgements",
        max_failure_rate=config.max_failure_rate,
    )
    store.close()
    per_pair = len(asked) // len(pairs)
    remaining = iter(judged)
    labels = [
        aggregate.label(pair, inputs.constitution, list(islice(remaining, per_pair)), inputs.critic) for pair in pairs
    ]
    write_rows(inputs.out / "judgements.jsonl", inputs.lineage.header("judgements"), judged)
    write_rows(inputs.out / "labels.jsonl", inputs.lineage.header("labels"), labels)
    summary = summarise(labels, judged, identical)
    write_text(inputs.out / "summary.json", json.dumps(summary.model_dump(), indent=2, sort_keys=True) + "\n")
    dataset.write(inputs.out / "dataset", labels)
    engines.reporter.line(describe(summary))
    return ["judgements.jsonl", "labels.jsonl", "summary.json", "dataset"]


def _pairs(inputs: Inputs) -> tuple[list[Pair], int]:
    if inputs.pairs is not None:
        return read_pairs(inputs.pairs, inputs.limit), 0
    if inputs.samples is None:
        raise ValueError("neither samples nor pairs")
    samples = read_rows(inputs.samples, Sample, "samples")
    full = [s for s in samples if len(s.responses) >= 2]
    pairs = [
        Pair(id=s.prompt.id, messages=s.prompt.messages, responses=(s.responses[0], s.responses[1]), meta=s.prompt.meta)
        for s in full
        if s.responses[0] != s.responses[1]
    ]
    if not pairs:
        fix = "raise pairs.samples_per_prompt or pairs.temperature"
        raise InputError("no prompt has two different responses", file=inputs.samples, fix=fix)
    return pairs, len(full) - len(pairs)


def summarise(labels: list[Label], judged: list[Judgement], identical: int = 0) -> LabelSummary:
    """Counts and rates over the labels; nothing that failed enters a mean."""
    decided = [x.p for x in labels if x.p is not None]
    biases = [x.position_bias for x in labels if x.position_bias is not None]
    return LabelSummary(
        count=len(labels),
        labelled=len(decided),
        judgements=len(judged),
        failed_judgements=sum(j.status == "failed" for j in judged),
        ties=sum(abs(p - 0.5) < TIE for p in decided),
        order_inconsistent=sum(x.order_consistent is False for x in labels),
        position_bias=fmean(biases) if biases else None,
        flagged=sum(bool(x.flags) for x in labels),
        mean_confidence=fmean(max(p, 1 - p) for p in decided) if decided else None,
        skipped_identical=identical,
    )


def describe(summary: LabelSummary) -> str:
    """The summary as one line for a person."""
    bias = "–" if summary.position_bias is None else f"{summary.position_bias:+.3f}"
    return (
        f"labels: {summary.labelled} of {summary.count} pairs, {summary.judgements} judgements "
        f"({summary.failed_judgements} failed), ties {summary.ties}, order-inconsistent {summary.order_inconsistent}, "
        f"position bias {bias}, flagged {summary.flagged}"
    )
