"""Who takes part: models by SPEC, files of recorded outputs, and the models of a run by their names there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rlaif.config import RESOLVED, RunConfig, locate
from rlaif.pipeline import Plan, model_folders
from rlaif.ports import registry
from rlaif.records import constitution as constitutions
from rlaif.records import strict_yaml
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.evaluation import Contestant
from rlaif.records.files import read_json
from rlaif.records.labelling import LabelFolder
from rlaif.records.run_folder import MANIFEST

NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,63})=(.+)", re.DOTALL)
RECORDED = (".jsonl", ".parquet")


class Run(NamedTuple):
    """A run folder: its settings, and what it labelled under."""

    folder: Path
    config: RunConfig
    constitution: Constitution


def read_run(folder: Path) -> Run:
    """A run by its folder.

    Raises:
        InputError: it is none.
    """
    if not (folder / MANIFEST).is_file() or not (folder / RESOLVED).is_file():
        raise InputError("this is no run folder", file=folder, field="--run", fix="name one, such as runs/NAME")
    document = strict_yaml.load(folder / RESOLVED)
    locate(document.data, folder / RESOLVED)
    config = strict_yaml.validate(document, RunConfig)
    labels = folder / "label" / "labelling.json"  # as it was then: the file may have changed
    own = read_json(labels, LabelFolder).constitution if labels.is_file() else constitutions.load(config.constitution)
    return Run(folder, config, own)


def parse(model: str, against: Sequence[str], run: Run | None) -> list[Contestant]:
    """The model and its baselines, in that order.

    Raises:
        InputError: a SPEC is none, a file or model folder is missing, or two have one name.
    """
    found = [_contestant(model, run, "--model"), *(_contestant(text, run, "--against") for text in against)]
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two models are called {twice[0]!r}", fix="write NAME=SPEC with another name for one of them")
    return found


def _contestant(text: str, run: Run | None, field: str) -> Contestant:
    named = NAMED.fullmatch(text)
    if named is None and run is not None:
        return Contestant(name=text, source=_of_run(text, run, field), recorded=False)
    if named is None:
        fix = "write NAME=ENGINE:MODEL or NAME=FILE.jsonl; with --run RUN also start, sft, policy"
        raise InputError(f"{text!r} has no name", fix=fix, field=field)
    name, source = named.groups()
    path = Path(source).expanduser()
    if path.is_file() or (path.suffix in RECORDED and ":" not in source):
        if not path.is_file():
            raise InputError(
                "there is no such file of recorded outputs", file=source, field=field, fix="check the path"
            )
        return Contestant(name=name, source=source, recorded=True)
    return Contestant(name=name, source=str(registry.checked_spec(source, field=field)), recorded=False)


def _of_run(name: str, run: Run, field: str) -> str:
    """SPEC of a run's model, under the run's engine."""
    folders = model_folders(Plan(run.config, run.constitution, run.folder))
    if name not in folders:
        fix = f"write {', '.join(folders)}, or NAME=SPEC for another model"
        raise InputError(f"the run has no model {name!r}", fix=fix, field=field)
    folder = folders[name]
    if name != "start" and not Path(folder).is_dir():
        raise InputError(f"this run has no {name} model yet", file=folder, field=field, fix="finish the run first")
    return str(registry.checked_spec(f"{run.config.engine}:{folder}", field=field))


def model_folder(contestant: Contestant) -> Path | None:
    """The folder of a local model; None of outputs, endpoints, scripts and Hub names."""
    if contestant.recorded:
        return None
    spec = registry.parse_spec(contestant.source)
    if spec.engine not in ("hf", "vllm"):
        return None
    path = Path(registry.model_path(spec.model))
    return path if path.is_dir() else None
