"""Where a label comes from: every judgement behind it, with the exact prompt that was asked."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rlaif.critique.compare import Question, labelling_questions
from rlaif.critique.verdict import distribution
from rlaif.ports.answers import option_key
from rlaif.records.errors import InputError
from rlaif.records.files import iterate_rows, read_json
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.labelling import LabelFolder
from rlaif.stages.audit import resolve


def why(folder: Path, label_id: str) -> dict[str, Any]:
    """The label, its judgements, and what the critic read for each.

    The prompt is rendered again, and held to the judgement's key: where they differ (another version of the templates)
    `exact` is False. A rationale's or a vote's key hashes several requests, so `exact` is None there.

    Raises:
        InputError: there is no such label, or the folder holds none.
    """
    folder = resolve(folder)
    about = read_json(folder / "labelling.json", LabelFolder)
    own = _label(folder, label_id)
    prompts = {_place(q): q for q in labelling_questions(about.config, own.pair, about.constitution)}
    identities = {critic.spec: critic.identity for critic in about.critics}
    shown = []
    for judgement in iterate_rows(folder / "judgements.jsonl", Judgement, "judgements"):
        if judgement.pair_id == own.pair.id:
            question = prompts.get((judgement.principle, judgement.wording, judgement.order, judgement.response))
            shown.append(_shown(judgement, question, identities.get(judgement.critic, "")))
    return {"label": own.model_dump(mode="json"), "judgements": shown}


def text(found: dict[str, Any]) -> str:
    """The same for a person."""
    label = found["label"]
    responses = zip(("first", "second"), label["pair"]["responses"], strict=True)
    p = "no probability" if label["p"] is None else f"P(first is better) = {label['p']:.4f}"
    lines = [
        f"label {label['pair']['id']}: {p}, weight {label['weight']:.2f}, constitution {label['constitution']}",
        *(f"[{m['role']}] {m['content']}" for m in label["pair"]["messages"]),
        *(f"[{place} response{_chosen(label, i)}] {text}" for i, (place, text) in enumerate(responses)),
        f"critic {label['critic']}, order-consistent {label['order_consistent']}, flags {label['flags'] or 'none'}",
        *(f"  {v['principle_id']} ({v['critic']}): {_number(v['p'])}" for v in label["votes"]),
        *(f"  {o['source']} {o['name']}, weight {o['weight']:g}: {_number(o['p'])}" for o in label["opinions"]),
    ]
    for entry in found["judgements"]:
        lines += ["", _heading(entry), *(f"[{m['role']}]\n{m['content']}" for m in entry["messages"])]
        lines += [f"[rationale]\n{rationale}" for rationale in entry["rationale"]]
        lines.append(f"=> {entry['answer']}" if entry["status"] == "ok" else f"=> failed: {entry['reason']}")
    return "\n".join(lines)


def _label(folder: Path, label_id: str) -> Label:
    known = []
    for name in ("labels", "canaries"):
        for label in iterate_rows(folder / f"{name}.jsonl", Label, name):
            if label.pair.id == label_id:
                return label
            known.append(label.pair.id)
    near = [name for name in known if name.startswith(label_id)] or get_close_matches(label_id, known, n=1)
    fix = f"did you mean {near[0]!r}?" if near else "take an id from that file"
    raise InputError(f"there is no label {label_id!r}", file=folder / "labels.jsonl", fix=fix)


def _place(question: Question) -> tuple[str, int, str, int | None]:
    return question.principle, question.wording, question.order, question.response


def _shown(judgement: Judgement, question: Question | None, identity: str) -> dict[str, Any]:
    messages = [] if question is None else [m.model_dump() for m in question.messages]
    exact = None
    if question is not None and judgement.mode == "logprob":
        exact = option_key(identity, question.messages, question.options) == judgement.key
    answer = None
    if judgement.status == "ok":
        shares = zip(judgement.options, distribution(judgement), strict=True)
        answer = "  ".join(f"P({option}) = {p:.4f}" for option, p in shares) + f"  (outside {judgement.outside:.4f})"
    return {**judgement.model_dump(mode="json"), "messages": messages, "exact": exact, "answer": answer}


def _heading(entry: dict[str, Any]) -> str:
    about = "" if entry["response"] is None else f", response {'first' if entry['response'] == 0 else 'second'}"
    exact = {True: "the exact prompt", False: "NOT the exact prompt: templates have changed", None: "the prompt"}
    return (
        f"-- {entry['principle_id']}, order {entry['order']}{about}, {entry['mode']} by {entry['critic']}: "
        f"{exact[entry['exact']]}, key {entry['key'][:12]}"
    )


def _chosen(label: dict[str, Any], response: int) -> str:
    """Whether the labels, and a choice that is known, say that it is the better one."""
    p, known = label["p"], label["pair"]["preferred"]
    said = ["better"] if p is not None and (p > 0.5 if response == 0 else p < 0.5) else []
    said += ["chosen in the data"] if known == response else []
    return f", {', '.join(said)}" if said else ""


def _number(p: float | None) -> str:
    return "no vote" if p is None else f"{p:.4f}"
