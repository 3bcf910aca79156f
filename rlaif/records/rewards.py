"""What a policy is rewarded for: the terms of `policy.rewards` in a run file, which are weighted and added up."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from rlaif.records.settings import Settings


class Term(Settings):
    """What every term has."""

    weight: float = Field(default=1.0, description="factor of this term in the score; negative for a penalty")


class ModelTerm(Term):
    """The reward model that the run has trained."""

    kind: Literal["model"] = Field(default="model", description="the trained reward model")

    @property
    def name(self) -> str:
        return "model"


class CriticTerm(Term):
    """Direct RLAIF (arXiv 2309.00267 §2.2): a critic scores every response from 1 to 10 under each principle, by
    likelihood; the weighted mean, scaled to [-1, 1], is the reward."""

    kind: Literal["critic"] = Field(description="the critic's own score of each response")
    critic: str | None = Field(default=None, description="SPEC of the critic that scores; the run's where not given")
    max_failure_rate: float = Field(
        default=0.05, ge=0, lt=1, description="share of failed judgements that stops the run; fewer drop their samples"
    )

    @property
    def name(self) -> str:
        return "critic"


class FunctionTerm(Term):
    """A Python function of yours: `function(messages, response, meta)` returns a finite number."""

    kind: Literal["function"] = Field(description="your own Python function")
    function: str = Field(description="module:function; it gets the conversation, the response and the prompt's meta")

    @property
    def name(self) -> str:
        return self.function.rpartition(":")[2]


class CostTerm(Term):
    """The cost model of the run's section `cost`, above 0 for harm; a fixed weight below 0 is the penalty that
    PPO-Lagrangian finds by itself."""

    kind: Literal["cost"] = Field(description="the trained cost model")
    weight: float = Field(default=-1.0, description="factor of this term in the score; negative for a penalty")

    @property
    def name(self) -> str:
        return "cost"


class LengthTerm(Term):
    """Length control: 0 up to `free` tokens, then linearly down to -1 at `limit` and beyond (the soft overlong
    punishment of DAPO, arXiv 2503.14476 §3.4). It pays nobody for being short."""

    kind: Literal["length"] = Field(description="a penalty on long responses")
    free: int = Field(ge=0, description="tokens up to which length costs nothing, EOS included")
    limit: int = Field(gt=0, description="tokens from which on it costs the whole weight")

    @model_validator(mode="after")
    def _ramp(self) -> Self:
        if self.limit <= self.free:
            raise ValueError(f"limit {self.limit} must be above free {self.free}", "leave some tokens between the two")
        return self

    @property
    def name(self) -> str:
        return "length"


KINDS = ("model", "critic", "function", "cost", "length")


def _known(term: Any) -> Any:
    """Refuse an unknown kind in words that name the known ones."""
    kind = term.get("kind", "model") if isinstance(term, dict) else None
    if isinstance(term, dict) and kind not in KINDS:
        raise ValueError(f"unknown kind of reward {kind!r}", "kind is one of " + ", ".join(KINDS))
    return term


def _tag(term: Any) -> str:
    """Which model a term is read as. The tags are no keys of a run file, which errors would take them for."""
    kind = term.get("kind", "model") if isinstance(term, dict) else getattr(term, "kind", "model")
    return f"<{kind}>"


RewardTerm = Annotated[
    Annotated[
        Annotated[ModelTerm, Tag("<model>")]
        | Annotated[CriticTerm, Tag("<critic>")]
        | Annotated[FunctionTerm, Tag("<function>")]
        | Annotated[CostTerm, Tag("<cost>")]
        | Annotated[LengthTerm, Tag("<length>")],
        Discriminator(_tag),
    ],
    BeforeValidator(_known),
]


def distinct(terms: list[RewardTerm]) -> list[RewardTerm]:
    """The terms, at least one, none twice.

    Raises:
        ValueError: there is none, or two have one name.
    """
    if not terms:
        raise ValueError("there is no reward", "name at least one term, such as {kind: model}")
    names = [term.name for term in terms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two rewards are called {twice[0]!r}", "keep one of them, or give functions different names")
    return terms
