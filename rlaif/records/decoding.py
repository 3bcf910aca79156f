"""Settings of decoding, and what a search over them found: `tuning.json`."""

from __future__ import annotations

from pydantic import Field

from rlaif.records.audit import Figure
from rlaif.records.base import Record


class Setting(Record):
    """How replies are drawn from a model. The masked words are never written; then the logits are divided by the
    temperature (0 takes the most probable token); of the tokens the `top_k` most probable are left (0: all), and of
    these the fewest that have `top_p` of the probability."""

    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    mask: list[str] = Field(default_factory=list)


OWN = Setting()  # the model's own distribution


class Measured(Record):
    """What replies under a setting are like. Of several replies to a prompt the mean counts; `n` is of prompts.

    kl: nats a reply, from the model's own distribution, over the whole vocabulary at every token.
    distinct: share of different replies.
    """

    setting: Setting
    reward: Figure
    kl: Figure
    tokens: float
    finished: float
    distinct: float


class Shown(Record):
    """A reply to a prompt of the second half under either setting."""

    prompt_id: str
    own: str
    winner: str


class Tuning(Record):
    """A search on one half of the prompts, and what became of its winner on the other.

    candidates: all settings that were tried, the model's own first, on the first half.
    winner: the best of them within the limit; None where that is the model's own.
    own, confirmed: the model's own and the winner on the second half.
    difference: of their rewards, the mean over prompts.
    chosen: what `generation_config.json` holds: the winner, or the model's own, and why.
    """

    model: str
    reward: str
    seed: int
    kl_limit: float
    samples: int
    max_tokens: int
    candidates: list[Measured]
    winner: Setting | None
    own: Measured
    confirmed: Measured | None
    difference: Figure | None
    chosen: Setting
    why: str
    shown: list[Shown]
