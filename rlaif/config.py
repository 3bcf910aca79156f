"""The run file: one YAML that says everything about a run. This module is the only reader of it.

Precedence: `--set` over the file over the defaults. Each section is the settings model of one stage, defined beside the
stage; unknown keys, wrong types and settings that the chosen algorithm does not have are errors with file and line.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from rlaif.ports import registry
from rlaif.ports.budget import parse_price
from rlaif.records import shipped, strict_yaml
from rlaif.records.errors import InputError
from rlaif.records.overrides import apply
from rlaif.records.settings import Settings
from rlaif.stages.evaluate import Config as EvaluateConfig
from rlaif.stages.label import Config as LabelConfig
from rlaif.stages.policy import Config as PolicyConfig
from rlaif.stages.prompts import Config as PromptsConfig
from rlaif.stages.report import Config as ReportConfig
from rlaif.stages.revise import Config as ReviseConfig
from rlaif.stages.reward import Config as RewardConfig
from rlaif.stages.sample import Config as SampleConfig
from rlaif.stages.sft import Config as SftConfig


class RunConfig(Settings):
    """A run from constitution to report."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    simulation: bool = False  # the report says on top that this is a simulated world
    constitution: str
    model: str  # the start policy: a folder, a Hub name, or tinyworld/policy
    critic: str  # SPEC, ENGINE:MODEL
    engine: str = "auto"  # what samples the policy: vllm, hf, or auto (vllm where it is installed)
    threads: int | None = Field(default=None, ge=1)  # CPU threads; 1 is fastest for models of a few million parameters
    price: str | None = None  # of paid critics: US dollars a million tokens, prompt/reply, such as "0.15/0.60"
    max_cost: float | None = Field(default=None, gt=0)  # US dollars that the run may spend in all
    prompts: PromptsConfig
    sample: SampleConfig = SampleConfig()
    revise: ReviseConfig = ReviseConfig()
    sft: SftConfig = SftConfig()
    pairs: SampleConfig = SampleConfig(samples_per_prompt=2)
    label: LabelConfig = LabelConfig()
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = PolicyConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _pairs_are_pairs(self) -> RunConfig:
        if self.pairs.samples_per_prompt < 2:
            raise ValueError("pairs.samples_per_prompt must be 2 or more: a pair has two responses")
        if self.price is None and self.max_cost is not None:
            raise ValueError("max_cost means nothing without a price: say what a million tokens cost")
        return self


def load(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run file, apply `section.key=value` overrides, resolve `auto`, and check every name that it mentions.

    Raises:
        InputError: anything is wrong, before any stage runs.
    """
    document = strict_yaml.load(path)
    for override in overrides or []:
        apply(document.data, override)
    config = strict_yaml.validate(document, RunConfig)
    engine = _engine(document, config.engine, "engine", "chat")
    rollouts = _engine(document, config.policy.engine or engine, "policy.engine", "rollout")
    if config.price is not None:
        try:
            parse_price(config.price)
        except InputError as error:
            raise document.error(error.problem, fix=error.fix, field="price") from None
    with_engines = config.model_copy(
        update={
            "critic": _spec(document, config.critic, "critic"),
            "engine": engine,
            "label": _label(document, config.label),
            "policy": config.policy.model_copy(update={"engine": rollouts}),
        }
    )
    _check_settings(document, with_engines)
    return with_engines


def named(reference: str) -> Path:
    """A run file's path: as given, or the shipped one of that name in `examples/runs/`."""
    shipped_file = shipped.folder("examples") / "runs" / f"{reference}.yaml"
    return shipped_file if "/" not in reference and shipped_file.is_file() else Path(reference)


def _spec(document: strict_yaml.Document, text: str, field: str) -> str:
    try:
        return str(registry.checked_spec(text))
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field=field) from None


def _label(document: strict_yaml.Document, config: LabelConfig) -> LabelConfig:
    critics = [_spec(document, spec, f"label.more_critics[{i}]") for i, spec in enumerate(config.more_critics)]
    strong = None if config.escalate is None else _spec(document, config.escalate, "label.escalate")
    return config.model_copy(update={"more_critics": critics, "escalate": strong})


def _engine(document: strict_yaml.Document, name: str, field: str, kind: str) -> str:
    try:
        resolved = ("vllm" if registry.installed("vllm") else "hf") if name == "auto" else name
        registry.check(kind, resolved)
        return resolved
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field=field) from None


def _check_settings(document: strict_yaml.Document, config: RunConfig) -> None:
    """Names and algorithm settings that only the registry can check; imports torch, so it runs for run files alone."""
    for section, kind, name, settings in (
        ("policy", "algorithm", config.policy.algorithm, config.policy.settings),
        ("reward", "objective", "bradley_terry", config.reward.settings),
    ):
        try:
            model = registry.load(kind, name).Config
        except InputError as error:
            raise document.error(error.problem, fix=error.fix, field=f"{section}.algorithm") from None
        field = f"{section}.settings"
        try:
            strict_yaml.validate(strict_yaml.Document(settings, _inside(document, field), document.file), model)
        except InputError as error:
            error.field = f"{field}.{error.field}" if error.field else field
            raise
    for field, reference in (("model", config.model), ("reward.backbone", config.reward.backbone)):
        if reference is not None:
            try:
                registry.model_path(reference)
            except InputError as error:
                raise document.error(error.problem, fix=error.fix, field=field) from None
    if config.evaluate.scorer:
        try:
            registry.function(config.evaluate.scorer)
        except InputError as error:
            raise document.error(error.problem, fix=error.fix, field="evaluate.scorer") from None
    if config.revise.model != "policy":
        _spec(document, config.revise.model, "revise.model")


def _inside(document: strict_yaml.Document, section: str) -> dict[str, int]:
    prefix = f"{section}."
    lines = {key.removeprefix(prefix): line for key, line in document.lines.items() if key.startswith(prefix)}
    return {"": document.line(section), **lines}
