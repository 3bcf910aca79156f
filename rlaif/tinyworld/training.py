"""Rebuilds the world's tokenizer and models from a seed, on two cores, and measures them on held-out texts.

The shipped folders under `models/` are what `train(out, seed=0)` makes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.records.errors import InputError
from rlaif.tinyworld import checks, critic, heldout, scorer, tokenizer, writer

MODELS = Path(__file__).resolve().parent / "models"
TABLE = "heldout.json"
NAMES = ("critic", "policy", "reviser", "scorer")
CRITIC_STEPS, POLICY_STEPS, REVISER_STEPS, SCORER_STEPS = 550, 1000, 1350, 600
CHECK_STEPS = 80  # of the scorer, after its own

Measure = Callable[[LlamaForCausalLM, PreTrainedTokenizerFast], heldout.Table]


def save(model: LlamaForCausalLM, shared: PreTrainedTokenizerFast, folder: Path) -> LlamaForCausalLM:
    """Write an ordinary model folder in bfloat16, and return the model that it holds, in float32."""
    model.generation_config.eos_token_id = model.config.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id
    model.bfloat16()
    model.save_pretrained(folder)
    shared.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # weights are written for the owner alone
    model.float()  # type: ignore[no-untyped-call]
    return model


def print_table(name: str, table: heldout.Table) -> None:
    """Print one model's held-out table."""
    print(f"\n{name}, held out")
    for key, value in table.items():
        if isinstance(value, dict):
            print(f"  {key}")
            for part, number in value.items():
                print(f"    {part:<26} {number:.3f}")
        else:
            print(f"  {key:<28} {value:.3f}")
    print(flush=True)


def train(
    out: Path,
    seed: int = 0,
    critic_steps: int = CRITIC_STEPS,
    policy_steps: int = POLICY_STEPS,
    reviser_steps: int = REVISER_STEPS,
    scorer_steps: int = SCORER_STEPS,
    check_steps: int = CHECK_STEPS,
    names: Sequence[str] = NAMES,
) -> dict[str, heldout.Table]:
    """Train the tokenizer, critic, policy, reviser and scorer; takes under an hour on two cores.

    Prints progress and the held-out tables, and writes `out/models/{critic,policy,reviser,scorer}` and
    `out/heldout.json`. The same seed and number of threads on the same machine give the same weights, whichever models
    are trained beside.

    Args:
        out: the folder to write into; it is made if it is missing.
        seed: of the texts and of the initial weights.
        critic_steps: steps of the critic; the defaults are the recipe of the shipped weights.
        policy_steps: steps of the policy.
        reviser_steps: steps of the reviser.
        scorer_steps: steps of the scorer.
        check_steps: further steps of the scorer, in which it learns the check.
        names: the models to train.

    Returns:
        The held-out tables by model.

    Raises:
        InputError: a name is none of a model.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise InputError(f"there is no tinyworld model {unknown[0]!r}", fix="name one of: " + ", ".join(NAMES))
    started = time.monotonic()
    shared = tokenizer.build(seed)
    recipes: dict[str, tuple[Callable[[], LlamaForCausalLM], Measure]] = {
        "critic": (lambda: critic.train(shared, seed, critic_steps), heldout.critic),
        "policy": (lambda: writer.train_policy(shared, seed, policy_steps), heldout.policy),
        "reviser": (lambda: writer.train_reviser(shared, seed, reviser_steps), heldout.reviser),
        "scorer": (
            lambda: checks.train(scorer.train(shared, seed, scorer_steps), shared, seed, check_steps),
            heldout.scorer,
        ),
    }
    tables = {}
    for name in (name for name in NAMES if name in names):
        make, measure = recipes[name]
        model = save(make(), shared, out / "models" / name)
        tables[name] = measure(model, shared)
        print_table(name, tables[name])
    (out / TABLE).write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
    print(f"trained in {time.monotonic() - started:.0f} s; models and {TABLE} are in {out}")
    return tables
