"""The base of every settings model, and the lineage that stages write into their headers."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rlaif.records.header import Header


class Settings(BaseModel):
    """A section of a run file. Unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Lora(Settings):
    """A low-rank adapter, which is trained in the place of the weights. It has no dropout."""

    rank: int = Field(default=8, ge=1, description="of the addition to each matrix")
    alpha: float = Field(default=16.0, gt=0, description="the addition is scaled by alpha / rank")
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = Field(
        default="all-linear", description="names of the modules that get one, such as q_proj; those of the body"
    )


class Training(Settings):
    """What every learner is trained with: AdamW, linear warm-up, then linear decay to 0."""

    learning_rate: float = Field(default=1e-5, gt=0, description="of AdamW, the highest; it falls to 0")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    gradient_clip: float = Field(default=1.0, gt=0, description="largest norm of a gradient")
    warmup_steps: int = Field(default=10, ge=0, description="optimiser steps in which the rate rises from 0")
    micro_batch: int = Field(default=16, ge=1, description="rows in memory at once; changes nothing else")
    gradient_checkpointing: bool = Field(
        default=False, description="less memory, a third more computing, the same numbers"
    )
    lora: Lora | None = Field(default=None, description="train an adapter of low rank; all weights where not given")


class Lineage(NamedTuple):
    """What a stage's artifacts descend from."""

    config_hash: str
    parents: dict[str, str]  # artifact path inside the run -> sha256

    def header(self, kind: str) -> Header:
        return Header(kind=kind, config_hash=self.config_hash, parents=self.parents)
