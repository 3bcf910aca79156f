"""`rlaif --help`: every command on one line, in the order in which one comes to need them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {
        "quickstart": "all of a run, offline, in a small simulated world",
        "doctor": "what is installed, and which engines work here",
        "init": "a project of your own: constitution, run file, prompts",
    },
    "Constitutions": {"constitution": "lint, show, test, diff, ablate, import"},
    "Critics and labels": {
        "critic": "test a critic on known choices, or attack it",
        "label": "label pairs by a critic, of a run or of any file",
        "why": "every judgement behind a label, with its prompt",
        "labels": "audit labels, and hold them to gates",
        "relabel": "labels again from stored judgements, asking nothing",
        "export": "labels as a data set, in the shapes of TRL's trainers",
    },
    "A run": {
        "config": "every setting of a run file, and where it comes from",
        "preview": "exactly what critic and policy will read",
        "estimate": "calls, tokens, money, hours and disk, before and after",
        "run": "everything, from constitution to report; it resumes",
        "watch": "a run in progress, from another terminal",
    },
    "A run up to one stage": {
        "prompts": "the prompts to train on and the held-out ones",
        "sample": "replies of the start model",
        "revise": "critique and revision of these replies",
        "sft": "fine-tuning on the revisions",
        "pairs": "pairs of replies of the fine-tuned policy",
        "audit": "figures of the labels, and the gates of the run file",
        "reward": "a reward model, of a run or on any labels",
        "cost": "a cost model of one axis",
        "policy": "the policy, by PPO or its kin",
        "evaluate": "models judged on prompts, of a run or any",
        "report": "one page, of a run or of two, whole or not",
    },
    "After a run": {
        "card": "model, data set and disclosure card",
        "replay": "whether the files are still those of the card",
        "push": "a model or a data set to the Hub, private by default",
        "gap": "whether the critic knows better than the policy writes",
        "reward-credit": "which tokens of a reply a reward comes from",
        "tune-decoding": "decoding settings for reward under a KL limit",
    },
    "For machines": {
        "schema": "JSON Schemas of constitution and run files, for editors",
        "tinyworld": "the simulated world: train its models from a seed",
    },
}


class Overview(TyperGroup):
    """The commands in sections, instead of one list that cuts their texts off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<13}", text) for name, text in commands.items()])


class Whole(TyperGroup):
    """A few commands, with all that each says of itself in its first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=400)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
