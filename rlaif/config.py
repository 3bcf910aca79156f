"""The run file: one YAML that says everything about a run. This module is the only reader of it.

Precedence: `--set` over the environment (`RLAIF_SET_POLICY__UPDATES=20`) over the file over the defaults. Each section
is the settings model of one stage, defined beside the stage; unknown keys, wrong types and settings that the chosen
algorithm does not have are errors with file and line.

A relative path is taken from the folder of the run file, in `config.resolved.yaml` from where the run was started;
where nothing is there, and in `--set`, from the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from rlaif.ports import guarding, registry
from rlaif.ports.budget import parse_price
from rlaif.records import constitution as constitutions
from rlaif.records import shipped, strict_yaml
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import nearest
from rlaif.records.guard import Guard
from rlaif.records.inputs import prompt_source
from rlaif.records.overrides import apply, from_environment
from rlaif.records.rewards import RewardTerm
from rlaif.records.run_folder import started_in
from rlaif.records.settings import Settings
from rlaif.stages.audit import Config as AuditConfig
from rlaif.stages.cost import Config as CostConfig
from rlaif.stages.evaluate import Config as EvaluateConfig
from rlaif.stages.label import Config as LabelConfig
from rlaif.stages.policy import Config as PolicyConfig
from rlaif.stages.policy import check_batch
from rlaif.stages.prompts import Config as PromptsConfig
from rlaif.stages.redteam import Config as RedteamConfig
from rlaif.stages.report import Config as ReportConfig
from rlaif.stages.revise import Config as ReviseConfig
from rlaif.stages.reward import Config as RewardConfig
from rlaif.stages.sample import Config as SampleConfig
from rlaif.stages.sft import Config as SftConfig

RESOLVED = "config.resolved.yaml"  # in a run folder: the run file with every default


class PairsConfig(SampleConfig):
    """The SFT policy's replies that are judged against each other: two a prompt, or more."""

    samples_per_prompt: int = Field(default=2, ge=2, description="replies a prompt; a pair has two")


class RunConfig(Settings):
    """A run from constitution to report."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="what the run is called: it writes to runs/NAME"
    )
    seed: int = Field(default=0, ge=0, description="of everything random")
    simulation: bool = Field(default=False, description="the report says on top that this is a simulated world")
    constitution: str = Field(description="a shipped name, such as harmless, or the path of a YAML file")
    model: str = Field(description="the start policy: a folder, a Hub name, or tinyworld/policy")
    critic: str = Field(description="SPEC, ENGINE:MODEL, of the model that judges: vllm:, hf: or openai:")
    engine: str = Field(
        default="auto", description="what samples the policy: vllm, hf, or auto (vllm where it is installed)"
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; 1 is fastest for models of a few million parameters"
    )
    rounds: int = Field(
        default=1, ge=1, description="of pairs, labels, reward and policy; each starts from the policy before it"
    )
    redteam: RedteamConfig | None = Field(
        default=None, description="before every round but the first, prompts that the policy is weak at; none if absent"
    )
    tracker: Literal["tensorboard"] | None = Field(
        default=None, description="where training metrics go beside metrics.jsonl; TensorBoard needs its extra"
    )
    price: str | None = Field(
        default=None, description="of paid critics: US dollars a million tokens, prompt/reply, such as 0.15/0.60"
    )
    max_cost: float | None = Field(default=None, gt=0, description="US dollars that the run may spend in all")
    prompts: PromptsConfig
    sample: SampleConfig = SampleConfig()
    revise: ReviseConfig = ReviseConfig()
    sft: SftConfig = SftConfig()
    pairs: PairsConfig = PairsConfig()
    label: LabelConfig = LabelConfig()
    audit: AuditConfig = AuditConfig()
    reward: RewardConfig = RewardConfig()
    cost: CostConfig | None = Field(
        default=None, description="a cost model of one axis, for algorithms under a constraint; none where not given"
    )
    policy: PolicyConfig = PolicyConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _cost_needs_a_price(self) -> RunConfig:
        if self.price is None and self.max_cost is not None:
            raise ValueError("max_cost means nothing without a price: say what a million tokens cost")
        return self

    @model_validator(mode="after")
    def _later_rounds_exist(self) -> RunConfig:
        guard = self.policy.guard
        if self.redteam is not None and self.rounds == 1:
            raise ValueError("redteam attacks before later rounds, and there is one", "say rounds: 2 or more")
        if guard is not None and guard.feedback and self.rounds == 1:
            problem = "policy.guard.feedback teaches the next round's reward model, and there is one round"
            raise ValueError(problem, "say rounds: 2 or more, or leave feedback out")
        if guard is not None and guard.feedback and guard.every > self.policy.updates:
            problem = "policy.guard.feedback has nothing to teach: no audit is due before the last update"
            raise ValueError(problem, f"say guard.every: {self.policy.updates} or less")
        if guard is not None and guard.takes_over and (self.label.more_critics or self.label.escalate):
            problem = "with policy.guard.takes_over one critic writes the labels of later rounds"
            raise ValueError(problem, "leave label.more_critics and label.escalate out, or takes_over")
        return self


def load(path: str | Path, overrides: list[str] | None = None, *, algorithms: bool = True) -> RunConfig:
    """Read a run file, apply `section.key=value` overrides, resolve `auto`, and check every name that it mentions.

    Args:
        algorithms: check the algorithms' own settings too. That imports torch, and needs it for nothing else.

    Raises:
        InputError: anything is wrong, before any stage runs.
    """
    document = strict_yaml.load(path)
    locate(document.data, Path(path))
    for override in [*from_environment(os.environ).values(), *(overrides or [])]:
        apply(document.data, override)
    config = strict_yaml.validate(document, RunConfig)
    engine = _engine(document, config.engine, "engine", "chat")
    rollouts = _engine(document, config.policy.engine or engine, "policy.engine", "rollout")
    if config.tracker is not None:
        try:
            registry.check("tracker", config.tracker)
        except InputError as error:
            raise document.error(error.problem, fix=error.fix, field="tracker") from None
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
            "policy": config.policy.model_copy(
                update={
                    "engine": rollouts,
                    "rewards": _rewards(document, config.policy.rewards),
                    "guard": _guard(document, config),
                }
            ),
            "redteam": _redteam(document, config.redteam),
        }
    )
    _check_names(document, with_engines)
    if algorithms:
        _check_settings(document, with_engines)
    return with_engines


def check_axes(config: RunConfig, constitution: Constitution, until: str) -> None:
    """Whatever axis a model is to learn, the constitution speaks of it; and a run up to `cost` has such a section.

    Raises:
        InputError: it does not, or the cost model's is not a cost axis.
    """
    if until == "cost" and config.cost is None:
        raise InputError("this run has no section `cost`", field="cost", fix="add one, such as cost: {axis: harmless}")
    axes = constitution.axes
    costs = [name for name, axis in axes.items() if axis.kind == "cost"]
    cost = config.cost.axis if config.cost is not None else None
    for field, name, known in (("reward.axis", config.reward.axis, list(axes)), ("cost.axis", cost, costs)):
        if name is not None and name not in known:
            fix = f"name one of: {', '.join(known)}" if known else "give the constitution an axis with `kind: cost`"
            what = "cost axis" if field == "cost.axis" else "axis"
            raise InputError(f"the constitution has no {what} {name!r}", field=field, fix=fix)


def named(reference: str) -> Path:
    """A run file's path: as given, or the shipped one of that name in `examples/runs/`.

    Raises:
        InputError: it is a name, and there is neither a shipped run nor a file of that name.
    """
    folder = shipped.folder("examples") / "runs"
    if "/" in reference or not (folder / f"{reference}.yaml").is_file():
        if "/" not in reference and "." not in reference and not Path(reference).exists():
            known = sorted(path.stem for path in folder.glob("*.yaml"))
            fix = f"{registry.suggest(reference, known)}, or the path of a file that ends in .yaml"
            raise InputError(f"there is no shipped run {reference!r}", fix=fix)
        return Path(reference)
    return folder / f"{reference}.yaml"


def _spec(document: strict_yaml.Document, text: str, field: str) -> str:
    try:
        return str(registry.checked_spec(text))
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field=field) from None


def _label(document: strict_yaml.Document, config: LabelConfig) -> LabelConfig:
    critics = [_spec(document, spec, f"label.more_critics[{i}]") for i, spec in enumerate(config.more_critics)]
    strong = None if config.escalate is None else _spec(document, config.escalate, "label.escalate")
    return config.model_copy(update={"more_critics": critics, "escalate": strong})


def _rewards(document: strict_yaml.Document, terms: list[RewardTerm]) -> list[RewardTerm]:
    def named(index: int, term: RewardTerm) -> RewardTerm:
        if term.kind != "critic" or term.critic is None:
            return term
        return term.model_copy(update={"critic": _spec(document, term.critic, f"policy.rewards[{index}].critic")})

    return [named(index, term) for index, term in enumerate(terms)]


def _guard(document: strict_yaml.Document, config: RunConfig) -> Guard | None:
    guard = config.policy.guard
    if guard is None or guard.critic is None:
        return guard
    auditor = _spec(document, guard.critic, "policy.guard.critic")
    if guard.takes_over and auditor == _spec(document, config.critic, "critic"):
        problem = f"{auditor} wrote the labels, and would take over from itself"
        fix = "name another critic in guard.critic, or leave takes_over out"
        raise document.error(problem, fix=fix, field="policy.guard.takes_over")
    return guard.model_copy(update={"critic": auditor})


def _redteam(document: strict_yaml.Document, redteam: RedteamConfig | None) -> RedteamConfig | None:
    if redteam is None:
        return None
    return redteam.model_copy(update={"attacker": _spec(document, redteam.attacker, "redteam.attacker")})


def _engine(document: strict_yaml.Document, name: str, field: str, kind: str) -> str:
    try:
        resolved = ("vllm" if registry.installed("vllm") else "hf") if name == "auto" else name
        registry.check(kind, resolved)
        return resolved
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field=field) from None


def locate(data: dict[str, Any], path: Path) -> None:
    """Make a run file's paths lead from here. Beside a run folder's own file other things may have the same names."""
    folder = started_in(path.parent) if path.name == RESOLVED else path.parent
    _look_beside(data, "" if folder == Path() else str(folder))  # "" keeps the paths as they are written


def _look_beside(data: dict[str, Any], folder: str) -> None:
    """Put `folder` before every relative path of a run file that leads somewhere from there."""

    def path(text: str) -> str:
        beside = os.path.join(folder, text)
        return beside if os.path.exists(beside) else text

    def constitution(text: str) -> str:
        return path(text) if constitutions.is_path(text) else text

    def prompts(text: str) -> str:
        return path(text) if prompt_source(text) == text else text

    def model(text: str) -> str:
        return text if text in registry.SHIPPED_MODELS else path(text)

    def spec(text: str) -> str:
        engine, colon, name = text.partition(":")
        return text if engine in ("openai", "scripted") or not colon else f"{engine}:{model(name)}"

    def source(text: str) -> str:
        kind, equals, rest = text.partition("=")
        file, at, weight = rest.rpartition("@")
        return f"{kind}{equals}{path(file)}{at}{weight}" if at else f"{kind}{equals}{path(rest)}"

    places: tuple[tuple[Callable[[str], str], str, str], ...] = (
        (constitution, "", "constitution"),
        (prompts, "prompts", "train"),
        (prompts, "prompts", "test"),
        (model, "", "model"),
        (model, "reward", "backbone"),
        (model, "cost", "backbone"),
        (spec, "", "critic"),
        (spec, "revise", "model"),
        (spec, "label", "escalate"),
        (spec, "label", "more_critics"),
        (spec, "label", "critic_weights"),
        (spec, "policy.rewards", "critic"),
        (spec, "policy.guard", "critic"),
        (spec, "redteam", "attacker"),
        (source, "label", "sources"),
        (path, "audit", "gold"),
    )
    for resolve, section, key in places:
        for values in _sections(data, section):
            if key in values:
                values[key] = _each(values[key], resolve)


def _sections(data: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The mappings at a dotted path; a list stands for its items."""
    found = [data]
    for key in path.split(".") if path else []:
        inner = [values.get(key) for values in found]
        items = [item for value in inner for item in (value if isinstance(value, list) else [value])]
        found = [item for item in items if isinstance(item, dict)]
    return found


def _each(value: Any, resolve: Callable[[str], str]) -> Any:
    """`resolve` done to a text, to the texts of a list or to the keys of a mapping; anything else is left as it is."""
    if isinstance(value, str):
        return resolve(value)
    if isinstance(value, list):
        return [resolve(item) if isinstance(item, str) else item for item in value]
    return {resolve(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _check_settings(document: strict_yaml.Document, config: RunConfig) -> None:
    """Settings that only an algorithm's own module can check; imports torch."""
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
    needs_cost = "cost_values" in registry.load("algorithm", config.policy.algorithm).NEEDS
    if config.cost is None and (needs_cost or any(term.kind == "cost" for term in config.policy.rewards)):
        what = f"the algorithm {config.policy.algorithm}" if needs_cost else "the reward term `cost`"
        fix = "add a section such as cost: {axis: harmless}"
        field = "policy.algorithm" if needs_cost else "policy.rewards"
        raise document.error(f"{what} needs a cost model", fix=fix, field=field)
    algorithm = registry.load("algorithm", config.policy.algorithm)
    settings = algorithm.Config(**config.policy.settings)
    constitution = constitutions.load(config.constitution)
    try:
        check_batch(config.policy, settings)
        guarding.check(config.policy.guard, constitution, config.policy.algorithm, algorithm, settings)
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field=error.field or "policy") from None


def _check_names(document: strict_yaml.Document, config: RunConfig) -> None:
    """The constitution, models and functions that the run names are there, as far as can be told without loading."""
    try:
        found = constitutions.locate(config.constitution)
    except InputError as error:
        raise document.error(error.problem, fix=error.fix, field="constitution") from None
    if not found.exists():
        fix = nearest(found) or "correct the path: it is relative to this run file, or to the current folder"
        raise document.error(f"there is no constitution file {str(found)!r}", fix=fix, field="constitution")
    for field, reference in (
        ("model", config.model),
        ("reward.backbone", config.reward.backbone),
        ("cost.backbone", config.cost.backbone if config.cost else None),
    ):
        if reference is not None:
            try:
                registry.model_path(reference)
            except InputError as error:
                raise document.error(error.problem, fix=error.fix, field=field) from None
    functions = [
        (f"policy.rewards[{i}].function", term.function)
        for i, term in enumerate(config.policy.rewards)
        if term.kind == "function"
    ]
    for field, name in [*([("evaluate.scorer", config.evaluate.scorer)] if config.evaluate.scorer else []), *functions]:
        try:
            registry.function(name)
        except InputError as error:
            raise document.error(error.problem, fix=error.fix, field=field) from None
    if config.revise.model != "policy":
        _spec(document, config.revise.model, "revise.model")


def _inside(document: strict_yaml.Document, section: str) -> dict[str, strict_yaml.Mark]:
    prefix = f"{section}."
    marks = {key.removeprefix(prefix): mark for key, mark in document.marks.items() if key.startswith(prefix)}
    return {"": document.mark(section), **marks}
