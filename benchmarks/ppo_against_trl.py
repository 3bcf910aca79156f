"""PPO of rlaif beside TRL's PPOTrainer: update time, memory and learning curve, `python benchmarks/ppo_against_trl.py`.

Both train tinyworld/policy in float32 with the same reward model, which is also where their value models start, on the
same prompts in the same order, with the same batch, epochs, minibatches, KL coefficient, response limit and constant
rate; replies end by themselves (with --full never: then each is as long as the limit). Each runs in a process of its
own, and the two take turns update by update, so that a machine that is slow for a while is slow for both. Replies of
both are scored by the same code. TRL 1.12, the last with PPO, is installed with pip in an environment of its own, once
(about 1.2 GB), with what rlaif needs beside it, so that both load the same libraries. With --engine vllm rlaif runs in
its own. It takes its engine's word for the samples' log-probabilities, which TRL's sampler does not give; with
--old-logprobs trainer it computes them again. With --value-network shared, which TRL does not have, it trains a value
head in the place of a value model.

What stays different by design, rlaif's way first: the score falls on the last token, not one slot after it; a reply
that did not end is scored as if it had, not as it stands; text is spelled anew for the reward model; the value head has
a bias; advantages are whitened with the biased variance.

Prints medians over the updates of all seeds but each seed's first, by clock and by processor time, the ratios of
updates that ran next to each other, and which targets are met: time at most 1/2, peak memory at most 0.7, and a mean
score over all updates that is no lower (less than one standard error over the seeds counts as none).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForSequenceClassification

from rlaif.engines import tokens
from rlaif.engines.learner.network import BIAS, init_head, load_causal, load_classifier, save_model
from rlaif.ports.experience import prompt_at
from rlaif.records.files import read_rows, write_rows
from rlaif.records.header import Header
from rlaif.records.inputs import read_prompts
from rlaif.records.prompt import Prompt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import bootstrap  # noqa: E402
from benchmarks.turns import Measured, Peer, Row  # noqa: E402

PACKAGES = ("trl==1.12.0", "transformers==5.19.0")
MODEL = "tinyworld/policy"
NEVER = "<|system|>"  # a token of tinyworld that no reply holds
TIME, MEMORY = 0.5, 0.7


class Curves(NamedTuple):
    """The updates of one seed, and their mean scores."""

    ours: list[Measured]
    theirs: list[Measured]
    our_scores: list[float]
    their_scores: list[float]


def main() -> None:
    options = arguments()
    python = environment_of_both(Path(options.environment))
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        given = material(options, Path(folder))
        scorer = AutoModelForSequenceClassification.from_pretrained(given["reward"], dtype=torch.float32).eval()
        curves = [run(python, Path(folder), {**given, "seed": seed}, scorer) for seed in range(options.seeds)]
    report(curves)


def arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engine", default="hf", help="what samples for rlaif: hf or vllm")
    parser.add_argument("--value-network", default="separate", help="of rlaif: separate, as TRL's always is, or shared")
    parser.add_argument("--old-logprobs", default="engine", help="of rlaif: engine, or trainer")
    parser.add_argument("--reward", default=MODEL, help="a reward model with the policy's tokens, else a random head")
    parser.add_argument("--full", action="store_true", help="no reply ends before the limit")
    parser.add_argument("--environment", default=cache / "rlaif-trl", help="where TRL is installed")
    return parser.parse_args()


def environment_of_both(folder: Path) -> str:
    """The Python of an environment with TRL and rlaif's requirements, torch for the CPU; made if it is not there."""
    python, done = folder / "bin/python", folder / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        torch_build = bootstrap.TORCH + "+cpu"
        required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        wanted = [*bootstrap.FAST, *bootstrap.torch_index(), torch_build, *PACKAGES, *required]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True, stdout=sys.stderr)
        done.touch()
    return str(python)


def material(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Models and prompts that both read, and their common settings."""
    reader = tokens.load_tokenizer(MODEL)
    prompts = read_prompts("tinyworld-train", None)
    write_rows(folder / "prompts.jsonl", Header(kind="prompts", config_hash="", parents={}), prompts)
    classifier = load_classifier(options.reward)
    if not classifier.has_head:
        init_head(classifier.model, seed=0)
    setattr(classifier.model.config, BIAS, 0.0)  # TRL knows nothing of it
    policy = load_causal(MODEL)
    if options.full:
        reader.eos_token = NEVER
        policy.generation_config.eos_token_id = policy.config.eos_token_id = reader.eos_token_id
    save_model(folder / "policy", policy, reader)
    save_model(folder / "reward", classifier.model, reader)
    chosen = ("batch_size", "epochs", "minibatches", "max_tokens", "learning_rate", "threads", "engine")
    return {
        **{name: getattr(options, name) for name in (*chosen, "value_network", "old_logprobs")},
        "updates": options.updates + 1,  # the last one is not measured: it begins, and so ends the one before
        "temperature": 0.7,
        "kl_coefficient": 0.2,
        "missing_eos_penalty": 1.0,
        "model": str(folder / "policy"),
        "reward": str(folder / "reward"),
        "prompt_file": str(folder / "prompts.jsonl"),
    }


def run(python: str, folder: Path, given: dict[str, Any], scorer: Any) -> Curves:
    """Both, on one seed, in turns."""
    quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_LOGGING_LEVEL": "ERROR"}
    environment = {**os.environ, **quiet, "OMP_NUM_THREADS": str(given["threads"]), "PYTHONPATH": str(ROOT)}
    given = {**given, "prompts": prompts_in_order(given)}
    peers = []
    for name, interpreter in (("rlaif", sys.executable if given["engine"] == "vllm" else python), ("trl", python)):
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**given, "out": str(folder / f"{name}-{given['seed']}")}))
        peers.append(Peer([interpreter, str(ROOT / f"benchmarks/ppo_of_{name}.py"), str(file)], environment))
    found: tuple[list[Measured], list[Measured]] = ([], [])
    scores: tuple[list[float], list[float]] = ([], [])
    for update in range(1, given["updates"]):
        for place in (0, 1) if update % 2 else (1, 0):
            found[place].append(peers[place].update())
            scores[place].append(mean_score(scorer, found[place][-1].rows))
        seconds = " and ".join(f"{own[-1].total.wall:.2f} s" for own in found)
        print(f"seed {given['seed']} update {update}: rlaif and TRL {seconds}", file=sys.stderr)
    for peer in peers:
        peer.close()
    return Curves(*found, *scores)


def prompts_in_order(given: dict[str, Any]) -> list[list[int]]:
    """Token ids of the prompts of all updates, as rlaif draws them with this seed."""
    reader = tokens.load_tokenizer(given["model"])
    prompts = read_rows(Path(given["prompt_file"]), Prompt, "prompts")
    drawn = (prompt_at(prompts, row, given["seed"]) for row in range(given["updates"] * given["batch_size"]))
    return [tokens.prompt_ids(reader, prompt.messages) for prompt in drawn]


@torch.no_grad()
def mean_score(scorer: Any, rows: Sequence[Row]) -> float:
    """The reward model's mean score of completions as they were sampled, one by one: no padding, no question."""
    return statistics.fmean(
        float(scorer(input_ids=torch.tensor([prompt + completion])).logits) for prompt, completion in rows
    )


def report(curves: list[Curves]) -> None:
    """Print the tables and what meets its target."""
    pairs = [pair for curve in curves for pair in list(zip(curve.ours, curve.theirs, strict=True))[1:]]
    print(f"{'seconds an update':24}{'rlaif':>9}{'TRL':>9}{'ratio':>9}   quarter to three quarters of the ratios")
    for part in ("rollout", "learner", "total"):
        for clock in ("wall", "cpu"):
            times = [[getattr(getattr(own, part), clock) for own in pair] for pair in pairs]
            ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
            ratios = [own / other for own, other in times]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{part + ', ' + clock:24}{ours:9.3f}{theirs:9.3f}{middle:9.3f}   {low:.3f} to {high:.3f}")
    lengths = [statistics.fmean(len(row[1]) for own in side for row in own.rows) for side in zip(*pairs, strict=True)]
    print(f"{'tokens a completion':24}{lengths[0]:9.1f}{lengths[1]:9.1f}")
    peaks = [max(own[-1].peak for own in side) for side in zip(*((c.ours, c.theirs) for c in curves), strict=True)]
    memory = peaks[0] / peaks[1]
    print(f"{'peak memory, MiB':24}{peaks[0]:9.0f}{peaks[1]:9.0f}{memory:9.3f}")
    gains = [statistics.fmean(c.our_scores) - statistics.fmean(c.their_scores) for c in curves]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    print("mean score by update, over the seeds")
    for update in range(len(curves[0].ours)):
        mean = [
            statistics.fmean(own)
            for own in zip(*((c.our_scores[update], c.their_scores[update]) for c in curves), strict=True)
        ]
        print(f"{update + 1:24}{mean[0]:+9.3f}{mean[1]:+9.3f}")
    gain = statistics.fmean(gains)
    print(f"{'all updates':24}{'':18}{gain:+9.3f}   more, standard error {error:.3f}")
    totals = statistics.median(own.total.wall / other.total.wall for own, other in pairs)
    for what, met in (
        (f"total time at most {TIME} of TRL's", totals <= TIME),
        (f"peak memory at most {MEMORY} of TRL's", memory <= MEMORY),
        ("learning curve no worse", gain >= -error),
    ):
        print(f"{'met    ' if met else 'NOT MET'}  {what}")


if __name__ == "__main__":
    main()
