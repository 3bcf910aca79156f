"""samples -> revisions: critique and revise, one sampled principle a round (arXiv 2212.08073 §3.1).

Each round asks for a critique of the current response under one principle, then for a revision in the light of it; the
revision takes the response's place. Principles are drawn by weight, independently for every prompt and round.

Left out: few-shot examples before the request (the paper needs them for models that mix up the two turns).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.critique import templates
from rlaif.ports import answers
from rlaif.ports.chat import ChatModel, GenerateRequest, Sampling
from rlaif.ports.engines import Engines
from rlaif.records import seeds
from rlaif.records.constitution import Constitution, Principle
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows, write_rows
from rlaif.records.sample import Revision, Round, Sample
from rlaif.records.settings import Lineage, Settings
from rlaif.records.store import AnswerStore


class Config(Settings):
    """The model that critiques and revises (a SPEC; `policy` is the policy itself), and for how many rounds."""

    model: str = "policy"
    rounds: int = Field(default=2, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=128, ge=1)


class Inputs(NamedTuple):
    samples: Path
    constitution: Constitution
    model: str  # SPEC, resolved
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `revisions.jsonl`: one row a sampled response, with every round. A row whose critique or revision failed
    keeps the rounds before it.

    Raises:
        InputError: no principle has both a critique and a revision request.
    """
    principles = [p for p in inputs.constitution.principles if p.critique and p.revise]
    if not principles:
        fix = "give at least one principle `critique` and `revise`"
        raise InputError(f"constitution {inputs.constitution.name!r} cannot revise anything", fix=fix)
    samples = read_rows(inputs.samples, Sample, "samples")
    rows = [Revision(prompt=s.prompt, initial=text, rounds=[]) for s in samples for text in s.responses]
    store = AnswerStore(inputs.out / "answers.sqlite")
    model = engines.chat(inputs.model)
    for number in range(config.rounds):
        drawn = [_draw(principles, inputs.seed, row, index, number) for index, row in enumerate(rows)]
        rows = _round(config, engines, inputs, model, store, rows, drawn, number)
    store.close()
    write_rows(inputs.out / "revisions.jsonl", inputs.lineage.header("revisions"), rows)
    return ["revisions.jsonl"]


def _round(
    config: Config,
    engines: Engines,
    inputs: Inputs,
    model: ChatModel,
    store: AnswerStore,
    rows: list[Revision],
    drawn: list[Principle],
    number: int,
) -> list[Revision]:
    language = inputs.constitution.language
    sampling = Sampling(config.temperature, config.max_tokens)
    live = [i for i, row in enumerate(rows) if len(row.rounds) == number]  # a failed row stays as it was
    row_seeds = {i: seeds.derive(inputs.seed, f"{rows[i].prompt.id}/{i}", f"revise-{number}") for i in live}

    critique_template = templates.load("revise/critique", language)
    asked = []
    for i in live:
        texts = [*(m.content for m in rows[i].prompt.messages), current(rows[i])]
        messages = templates.render(
            critique_template,
            fence=templates.fence_for(*texts),
            conversation=rows[i].prompt.messages,
            response=current(rows[i]),
            critique_request=drawn[i].critique,
        )
        asked.append(GenerateRequest(messages, row_seeds[i]))
    written = answers.generations(model, asked, sampling, store, engines.reporter, what=f"critique {number + 1}")
    critiques = {i: w.text for i, w in zip(live, written, strict=True) if w.text is not None}

    revise_template = templates.load("revise/revise", language)
    asked = []
    for i, critique in critiques.items():
        texts = [*(m.content for m in rows[i].prompt.messages), current(rows[i]), critique]
        messages = templates.render(
            revise_template,
            fence=templates.fence_for(*texts),
            conversation=rows[i].prompt.messages,
            response=current(rows[i]),
            critique=critique,
            revision_request=drawn[i].revise,
        )
        asked.append(GenerateRequest(messages, row_seeds[i]))
    written = answers.generations(model, asked, sampling, store, engines.reporter, what=f"revision {number + 1}")
    revised = list(rows)
    for (i, critique), revision in zip(critiques.items(), written, strict=True):
        # A revision cut by the token budget, or empty, would teach the policy to stop anywhere.
        if revision.text is not None and revision.finished and revision.text.strip():
            done = Round(principle_id=drawn[i].id, critique=critique, response=revision.text.strip())
            revised[i] = rows[i].model_copy(update={"rounds": [*rows[i].rounds, done]})
    return revised


def current(row: Revision) -> str:
    """The response as it stands after the rounds so far."""
    return row.rounds[-1].response if row.rounds else row.initial


def _draw(principles: list[Principle], seed: int, row: Revision, index: int, number: int) -> Principle:
    chance = random.Random(seeds.derive(seed, f"{row.prompt.id}/{index}", f"principle-{number}"))
    return chance.choices(principles, weights=[p.weight for p in principles])[0]
