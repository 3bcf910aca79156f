"""Labels as the ecosystem reads them: parquet with explicit `prompt`, `chosen`, `rejected` in conversational form.

One data set of overall labels (`default`) and one for every axis; `train` and `test` splits by a hash of the prompt, so
that no prompt stands in both. The added columns say how sure the label is and where it comes from. Pairs without a
probability are not in it: nobody said which response is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlaif.records import seeds
from rlaif.records.files import atomic_folder
from rlaif.records.label import Label

TEST_PERCENT = 10


def rows(labels: list[Label], axis: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the overall labels, or of one axis. `margin` is P(chosen) - P(rejected), in [0, 1]."""
    for label in labels:
        p = label.p if axis is None else label.axes[axis].p if axis in label.axes else None
        if p is None:
            continue
        winner = 0 if p >= 0.5 else 1
        chosen, rejected = label.pair.responses[winner], label.pair.responses[1 - winner]
        yield {
            "prompt": [m.model_dump() for m in label.pair.messages],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "id": label.pair.id,
            "p_chosen": max(p, 1 - p),
            "margin": abs(2 * p - 1),
            "weight": label.weight if axis is None else label.axes[axis].coverage,
            "axis": axis or "overall",
            "constitution": label.constitution,
            "critic": label.critic,
            "order_consistent": label.order_consistent,
            "flags": label.flags,
        }


def is_test(messages: list[dict[str, str]]) -> bool:
    """Whether a prompt belongs to the test split; depends on its text alone."""
    text = "\x1f".join(f"{m['role']}:{m['content']}" for m in messages)
    return seeds.derive(0, text, "split") % 100 < TEST_PERCENT


def write(folder: Path, labels: list[Label]) -> None:
    """Write `default/` and `axis-<name>/`, each `train.parquet` and `test.parquet`, with a card that names them."""
    axes = sorted({axis for label in labels for axis in label.axes})
    names = {"default": None, **{f"axis-{axis}": axis for axis in axes}}
    with atomic_folder(folder) as temporary:
        for name, axis in names.items():
            own = list(rows(labels, axis))
            _write_split(temporary / name / "train.parquet", [r for r in own if not is_test(r["prompt"])])
            _write_split(temporary / name / "test.parquet", [r for r in own if is_test(r["prompt"])])
        (temporary / "README.md").write_text(_card(list(names)), encoding="utf-8")


def _write_split(path: Path, own: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    message = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema(
        [
            *((name, message) for name in ("prompt", "chosen", "rejected")),
            ("id", text),
            *((name, number) for name in ("p_chosen", "margin", "weight")),
            *((name, text) for name in ("axis", "constitution", "critic")),
            ("order_consistent", pyarrow.bool_()),
            ("flags", pyarrow.list_(text)),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_clean(r) for r in own], schema=schema), path)


def _clean(value: Any) -> Any:
    """Lone surrogates cannot be UTF-8: they become U+FFFD in what is published (the records keep them)."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def _card(names: list[str]) -> str:
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        f"  - {{split: train, path: {name}/train.parquet}}\n  - {{split: test, path: {name}/test.parquet}}\n"
        for name in names
    )
    return (
        f"---\nconfigs:\n{configs}tags: [preference, rlaif, synthetic]\n---\n\n"
        "# Preference labels by AI feedback\n\n"
        "Pairs of responses judged by a critic model under a constitution, in both orders, by rlaif. "
        "`p_chosen` is the critic's probability for `chosen`, `weight` the share of the principles that were answered, "
        "`order_consistent` whether the winner survived swapping the two responses. "
        "These are a model's judgements; no human chose.\n"
    )
