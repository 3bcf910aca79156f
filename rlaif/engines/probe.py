"""`python -m rlaif.engines.probe SPEC`: one token from one engine, in a process of its own, as one line of JSON.

`openai:` without a name takes the first model that the endpoint lists. What goes wrong is in the answer: an engine that
cannot be loaded may end a process, or never answer, and whoever asks must live on.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rlaif.ports import registry
from rlaif.ports.chat import Failure, GenerateRequest, Sampling
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message

MARK = "rlaif-probe: "  # libraries print to standard output too


def one_token(spec: str) -> dict[str, Any]:
    """What an engine answers: `text` and `seconds`, or `problem` and `fix`; of local engines what torch sees, too."""
    engine, _, model = spec.partition(":")
    found: dict[str, Any] = {}
    try:
        if engine == "openai" and not model:
            model = _first_model()
        began = time.monotonic()
        chat = registry.load("chat", engine)(model)
        request = GenerateRequest([Message(role="user", content="Say yes.")], 0)
        (answer,) = chat.generate([request], Sampling(0.0, 1))
        found = {"spec": f"{engine}:{model}", "seconds": round(time.monotonic() - began, 1)}
        chat.close()
        found |= {"problem": answer.reason} if isinstance(answer, Failure) else {"text": answer.text}
    except InputError as error:
        found = {"problem": error.problem, "fix": error.fix}
    except (RunHalted, Exception) as error:  # whatever it is, it is what people must hear
        found = {"problem": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}
    return found | (_torch() if engine in ("hf", "vllm") else {})


def _first_model() -> str:
    from openai import OpenAI

    from rlaif.engines.chat.openai_http import endpoint

    place = endpoint()
    key = place.key.get_secret_value() if place.key else "none"
    client = OpenAI(base_url=place.url, api_key=key, max_retries=0, timeout=20.0)
    listed = [model.id for model in client.models.list().data]
    if not listed:
        raise InputError("the endpoint lists no model", fix="name one: --critic openai:MODEL")
    return str(listed[0])


def _torch() -> dict[str, Any]:
    """The graphics cards that torch can use, and whether this build of it could use any."""
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [torch.cuda.get_device_properties(i) for i in range(count)]
        gpus = [f"{own.name}, {own.total_memory / 2**30:.0f} GiB" for own in names]
        return {"gpus": gpus, "cuda": torch.version.cuda, "threads": torch.get_num_threads()}
    except Exception as error:
        return {"torch": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(MARK + json.dumps(one_token(sys.argv[1])), flush=True)
