"""`rlaif push`: a model or a data set to the Hub. Private unless said otherwise, and never with a secret in it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from rlaif.ports import registry
from rlaif.ports.reporter import Reporter
from rlaif.records import secrets
from rlaif.records.card import FILE, FOLDER, Card
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import file_digest, read_json
from rlaif.records.run_folder import SIGNS

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
FIX = "name runs/NAME/policy/model, runs/NAME/label/dataset, or what `rlaif export` wrote"
TRUE = ("1", "true", "yes", "on")
START = 8192  # bytes that tell text from what is none


class Plan(NamedTuple):
    """What would be pushed: path in the repository -> file. `card`: it has one."""

    kind: Literal["model", "dataset"]
    files: dict[str, Path]
    card: bool


class Found(NamedTuple):
    """A secret in a file."""

    file: Path
    line: int
    kind: str


def plan(folder: Path) -> Plan:
    """The files of a model or data set, with the cards of the run that it lies in.

    Raises:
        InputError: it is neither; a file is a link; the card is of other files.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder", file=folder, fix=FIX)
    if any((folder / name).is_file() for name in SIGNS.values()):
        raise InputError("this is all of a run, or of a folder of labels", file=folder, fix=FIX)
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InputError("this is a link, which may lead anywhere", file=path, fix="put a copy in its place")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            files[name] = path
    model = "config.json" in files and any(name.endswith(".safetensors") for name in files)
    if not model and not any(name.endswith(".parquet") for name in files):
        raise InputError("this is neither a model nor a data set", file=folder, fix=FIX)
    kind: Literal["model", "dataset"] = "model" if model else "dataset"
    cards = _cards(folder, kind, files)
    return Plan(kind, {**files, **cards}, bool(cards))


def push(
    folder: Path, name: str, reporter: Reporter, *, public: bool = False, dry_run: bool = False
) -> tuple[Plan, str | None]:
    """Show what would be pushed, look for secrets, and push it. The plan, and the commit's URL; None where nothing was
    sent because of `dry_run`.

    Raises:
        InputError: the folder, the name, the token or the endpoint is at fault, or the network is switched off.
        RunHalted: there are secrets in it, or the repository is public and that is not asked for.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name on the Hub", fix="write OWNER/NAME", field="NAME")
    planned = plan(folder)
    reporter.line(f"{planned.kind} {name}, {'PUBLIC' if public else 'private'}: {len(planned.files)} files")
    for path, file in planned.files.items():
        reporter.line(f"  {path}  {file.stat().st_size:,} bytes")
    if not planned.card:
        reporter.line("no card goes with it: `rlaif card RUN` writes one")
    found = [one for file in planned.files.values() for one in scan(file, secrets.own_values(os.environ))]
    for one in found:
        reporter.line(f"{one.file}:{one.line}: {one.kind}, value not shown")
    if found:
        raise RunHalted(f"{len(found)} secrets in what would be pushed: nothing was sent. Remove them, and revoke them")
    reporter.line("no secrets of a known format found")
    if dry_run:
        return planned, None
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE:
        raise InputError("HF_HUB_OFFLINE is set: nothing was sent", fix="unset it to push", field="HF_HUB_OFFLINE")
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise InputError("HF_TOKEN is not set", fix="put a token that may write there into it", field="HF_TOKEN")
    hub = registry.load("hub", "huggingface")(token, _endpoint())
    url: str = hub.push(name, planned.kind, planned.files, public=public, message=f"Upload {planned.kind} with rlaif")
    return planned, url


def scan(file: Path, own: Mapping[str, str]) -> Iterator[Found]:
    """Secrets in a text file, by line, or in a parquet file's rows; other files hold numbers."""
    lines = _parquet(file) if file.suffix == ".parquet" else _lines(file)
    yield from (Found(file, one.line, one.kind) for one in secrets.scan(lines, own))


def _lines(file: Path) -> Iterator[str]:
    with file.open("rb") as stream:
        if b"\0" in stream.read(START):
            return
        stream.seek(0)
        for line in stream:
            yield line.decode("utf-8", errors="replace")


def _parquet(file: Path) -> Iterator[str]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            yield json.dumps(row, ensure_ascii=False, default=str)


def _cards(folder: Path, kind: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """The cards of the run around a policy or a data set."""
    root = next((p for p in folder.resolve().parents[:3] if (p / FOLDER / FILE).is_file()), None)
    place = None if root is None else folder.resolve().relative_to(root).as_posix()
    wanted = "policy/model" if kind == "model" else "dataset"
    if root is None or place is None or not (place == wanted or place.endswith(f"/{wanted}")):
        return {}
    card = read_json(root / FOLDER / FILE, Card)
    for name, file in files.items():
        seal = card.artifacts.get(f"{place}/{name}")
        if seal is None or seal.sha256 != file_digest(file):
            raise InputError("the card beside it is of other files", file=file, fix="write it again: rlaif card RUN")
    own = {"README.md": f"{kind}/README.md", "disclosure.md": "disclosure.md", FILE: FILE}
    return {name: root / FOLDER / path for name, path in own.items()}


def _endpoint() -> str | None:
    """HF_ENDPOINT, over https alone unless it is this machine.

    Raises:
        InputError: a token would go over the network in the clear.
    """
    url = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if not url:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise InputError("HF_ENDPOINT is not https", fix="a token goes over https only", field="HF_ENDPOINT")
    return url
