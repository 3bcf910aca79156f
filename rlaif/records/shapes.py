"""From a row of any known shape to preference pairs.

- `prompt` (or `messages`, or `instruction`) and `responses`, perhaps `preferred`: one's own files;
- the same with `completions`, each a `response` with its `model` and ratings: UltraFeedback;
- `prompt`, `chosen`, `rejected`: TRL and RewardBench; RewardBench 2 has lists of them;
- transcripts `chosen` and `rejected` (HH-RLHF), or `text_correct` and `text_incorrect` (the HHH evaluations).

What the critic never sees, but a measurement may ask for, goes to the pair's `meta`: `category` is the row's own
`meta.category`, else its `category`, `subset` or `source`, where that is a text; `models` says who wrote the first
response and who the second, where both are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rlaif.records.pair import Pair
from rlaif.records.pairing import bipartite, schedule
from rlaif.records.prompt import Message
from rlaif.records.ratings import better
from rlaif.records.rows import Row, build, conversation, ends_with_user, response_text, row_id, row_prompt, transcript

PAIR_SHAPES = "prompt+responses, prompt+chosen+rejected, chosen+rejected transcripts, or text_correct+text_incorrect"

Meta = dict[str, Any]


def pairs_of(row: Row, most: int | None, seed: int) -> Iterator[Pair]:
    """The pairs of one row: at most `most`, chosen by the seed, where it has several."""
    data, meta = row.data, meta_of(row)
    if "responses" in data or "completions" in data:
        yield from _responses(row, meta, most, seed)
    elif "chosen" in data and "rejected" in data:
        if _texts(data["chosen"]) or _texts(data["rejected"]):
            yield from _each_against_each(row, meta, most, seed)
        else:
            _write_models(meta, [data.get("chosen_model"), data.get("rejected_model")])
            yield _chosen_rejected(row, meta)
    elif "text_correct" in data and "text_incorrect" in data:
        yield _transcripts(row, "text_correct", "text_incorrect", meta)
    else:
        keys = ", ".join(sorted(data)) or "nothing"
        raise row.fault(f"this row is no pair: it has {keys}", f"use one of: {PAIR_SHAPES}")


def meta_of(row: Row) -> Meta:
    """The row's own `meta`, with its category.

    Raises:
        InputError: it is no object.
    """
    meta = row.data.get("meta") or {}
    if not isinstance(meta, dict):
        raise row.fault("meta must be an object", 'write {"meta": {"category": "..."}}', "meta")
    meta = dict(meta)
    named = [row.data.get(key) for key in ("category", "subset", "source")]
    category = next((x for x in named if isinstance(x, str) and x.strip()), None)
    if category is not None:
        meta.setdefault("category", category)
    return meta


def _write_models(meta: Meta, models: Sequence[Any]) -> None:
    if all(isinstance(model, str) and model for model in models):
        meta["models"] = list(models)


def _models(row: Row, meta: Meta, responses: Sequence[Any]) -> list[Any]:
    """Who wrote each response, None where nobody says: the completion itself, or a list beside them."""
    beside = row.data.get("models", meta.get("models"))
    if not isinstance(beside, list) or len(beside) != len(responses):
        beside = [None] * len(responses)
    return [x.get("model", other) if isinstance(x, dict) else other for x, other in zip(responses, beside, strict=True)]


def _responses(row: Row, meta: Meta, most: int | None, seed: int) -> Iterator[Pair]:
    """Of two responses the one pair, of more every two that are not the same text."""
    field = "responses" if "responses" in row.data else "completions"
    responses = row.data[field]
    if not isinstance(responses, list) or len(responses) < 2:
        found = f"{len(responses)} response(s)" if isinstance(responses, list) else "no list"
        raise row.fault(f"a pair needs two responses or more, found {found}", "give two texts", field)
    texts = [response_text(row, r, f"{field}[{i}]") for i, r in enumerate(responses)]
    models, name, prompt = _models(row, meta, responses), row_id(row), row_prompt(row)
    for i, j in schedule(len(texts), most, seed, name):
        own = {key: value for key, value in meta.items() if key != "models"}  # those are of the whole row
        _write_models(own, [models[i], models[j]])
        preferred = better(row, field, responses, i, j)
        if len(texts) == 2:
            said = row.data.get("preferred")
            yield _pair(row, name, prompt, texts, preferred if said is None else said, own)
        elif texts[i] != texts[j]:
            yield _pair(row, f"{name}:{i}-{j}", prompt, [texts[i], texts[j]], preferred, own)


def _each_against_each(row: Row, meta: Meta, most: int | None, seed: int) -> Iterator[Pair]:
    """Every chosen response against every rejected one; they are numbered through, the chosen ones first."""
    both = {field: row.data[field] for field in ("chosen", "rejected")}
    for field, value in both.items():
        if not _texts(value):
            raise row.fault("where one of chosen and rejected is a list of texts, both must be", "give a list", field)
    texts = [*both["chosen"], *both["rejected"]]
    models, name, prompt = _models(row, meta, texts), row_id(row), row_prompt(row)
    for i, j in bipartite(len(both["chosen"]), len(both["rejected"]), most, seed, name):
        own = {key: value for key, value in meta.items() if key != "models"}  # those are of the whole row
        _write_models(own, [models[i], models[j]])
        yield _pair(row, f"{name}:{i}-{j}", prompt, [texts[i], texts[j]], 0, own)


def _texts(value: Any) -> bool:
    """Whether this is a list of texts, and not one of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(x, str) for x in value)


def _chosen_rejected(row: Row, meta: Meta) -> Pair:
    chosen, rejected = row.data["chosen"], row.data["rejected"]
    if "prompt" in row.data and not _whole(chosen) and not _whole(rejected):
        texts = [response_text(row, chosen, "chosen"), response_text(row, rejected, "rejected")]
        return _pair(row, row_id(row), conversation(row, row.data["prompt"]), texts, 0, meta)
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _transcripts(row, "chosen", "rejected", meta)
    return _diverge(row, conversation(row, chosen, "chosen"), conversation(row, rejected, "rejected"), meta)


def _whole(value: Any) -> bool:
    """Whether this is a conversation with its prompt, as the binarised UltraFeedback has it beside `prompt`."""
    return isinstance(value, list) and len(value) > 1


def _transcripts(row: Row, first: str, second: str, meta: Meta) -> Pair:
    return _diverge(row, transcript(row, row.data[first], first), transcript(row, row.data[second], second), meta)


def _pair(
    row: Row, name: str, prompt: list[Message], texts: Sequence[str], preferred: Literal[0, 1] | None, meta: Meta
) -> Pair:
    ends_with_user(row, prompt)
    pair: Pair = build(
        row, Pair, id=name, messages=prompt, responses=(texts[0], texts[1]), preferred=preferred, meta=meta
    )
    return pair


def _diverge(row: Row, a: list[Message], b: list[Message], meta: Meta) -> Pair:
    """The shared turns are the prompt. Where transcripts part before the last turn, the responses are all the rest of
    each, later Human turns included, and `meta.diverges_early` says so."""
    shared = 0
    while shared < min(len(a), len(b)) - 1 and a[shared] == b[shared]:
        shared += 1
    while shared > 0 and a[shared - 1].role != "user":
        shared -= 1
    if shared == 0:
        raise row.fault("the two transcripts share no first human turn", "pair responses to one conversation")
    if max(len(a), len(b)) - shared > 1:
        meta["diverges_early"] = True
    return _pair(row, row_id(row), a[:shared], [_rest(a[shared:]), _rest(b[shared:])], 0, meta)


def _rest(turns: list[Message]) -> str:
    text = "\n\n".join(f"{'Human' if m.role == 'user' else 'Assistant'}: {m.content}" for m in turns)
    return text.removeprefix("Assistant: ")
