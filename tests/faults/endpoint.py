"""An OpenAI-compatible endpoint on loopback that answers from a hash of the question, and misbehaves to order."""

from __future__ import annotations

import hashlib
import json
import math
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

Body = dict[str, Any]
# (text of the last message, how often it was asked before) -> name of the fault, or None for an honest answer.
Plan = Callable[[str, int], str | None]

PROBE = "Answer with the letter A."
PROMPT_TOKENS, COMPLETION_TOKENS = 11, 1
STATUS = {  # fault: status, headers, code, message
    "429": (429, {}, "rate_limit_exceeded", "slow down"),
    "429 after 0": (429, {"Retry-After": "0"}, "rate_limit_exceeded", "slow down"),
    "429 after 1": (429, {"Retry-After": "1"}, "rate_limit_exceeded", "slow down"),
    "429 by date": (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "rate_limit_exceeded", "slow down"),
    "429 after 30": (429, {"Retry-After": "30"}, "rate_limit_exceeded", "slow down"),
    "429 for hours": (429, {"Retry-After": "7200"}, "rate_limit_exceeded", "slow down"),
    "quota": (429, {}, "insufficient_quota", "You exceeded your current quota"),
    "402": (402, {}, "payment_required", "Insufficient balance"),
    "500": (500, {}, "server_error", "oh no"),
    "502": (502, {}, "bad_gateway", "bad gateway"),
    "503": (503, {}, "overloaded", "overloaded"),
    "400": (400, {}, "invalid_request_error", "no \x1b[31mcolour\u202e here" + "!" * 900),
    "too long": (400, {}, "context_length_exceeded", "This model's maximum context length is 4096 tokens"),
    "413": (413, {}, "too_large", "request too large"),
    "422": (422, {}, "unprocessable", "unprocessable"),
    "401": (401, {}, "invalid_api_key", "Incorrect API key provided"),
    "403": (403, {}, "forbidden", "not for you"),
    "404": (404, {}, "model_not_found", "The model does not exist"),
    "redirect": (307, {"Location": "http://127.0.0.2:9/v1/chat/completions"}, "", ""),
}
FIELDS: dict[str, tuple[tuple[str | int, ...], Any]] = {  # fault: what of an honest answer is replaced by what
    "no choices": (("choices",), []),
    "no logprobs": (("choices", 0, "logprobs"), None),
    "choices of text": (("choices",), "A"),
    "text as a number": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 3, "logprob"), "-5.3"),
    "nan": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 0, "logprob"), math.nan),
    "inf": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 0, "logprob"), math.inf),
    "-inf": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 0, "logprob"), -math.inf),
    "-9999": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 0, "logprob"), -9999.0),
    "above 0": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 0, "logprob"), 1e6),
    "above 1": (("choices", 0, "logprobs", "content", 0, "top_logprobs", 2, "logprob"), -0.01),
    "null": (("choices", 0, "message", "content"), None),
    "list": (("choices", 0, "message", "content"), ["A"]),
    "nul": (("choices", 0, "message", "content"), "A\0B"),
    "surrogate": (("choices", 0, "message", "content"), "half \ud83d"),
    "filtered": (("choices", 0, "finish_reason"), "content_filter"),
}
# Faults after which another attempt may be answered, and which nobody pays for.
PASSING = ("429", "429 after 0", "429 by date", "500", "502", "503", "reset", "html")


def p_of_a(text: str) -> float:
    """What this endpoint thinks of a question: between 0.05 and 0.95, the rest less 0.01 is on B."""
    return 0.05 + 0.9 * int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def random_faults(rate: float, seed: int) -> Plan:
    """Passing faults at that rate, drawn by question and attempt, so that no order of asking changes them."""

    def plan(text: str, before: int) -> str | None:
        rng = Random(f"{seed} {text} {before}")
        return rng.choice(PASSING) if text != PROBE and rng.random() < rate else None

    return plan


class FaultServer:
    """Counts what was asked and what was billed, by the text of the last message."""

    def __init__(self) -> None:
        self.plan: Plan = lambda text, before: None
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.times: list[float] = []
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.active = self.most_active = 0
        self.most = 10**9  # requests at once above which the answer is 429
        self.delay = 0.0  # seconds that an honest answer takes
        self.lists = 20  # tokens that are listed at most; 0 refuses log-probabilities
        self.holds = True  # whether a reply can be held to a JSON schema
        self.splits = False  # whether the tokenizer writes "10" in two tokens
        self.max_tokens = "max_tokens"  # how the limit of a reply is called
        self.owner = "somebody"
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[FaultServer]:
        handler = type("Handler", (_Handler,), {"endpoint": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    endpoint: FaultServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "m", "owned_by": self.endpoint.owner}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, text = self.endpoint, body["messages"][-1]["content"]
        with server.lock:
            server.bodies.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            before = server.asked[text]
            server.asked[text] += 1
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            server.times.append(time.monotonic())
            fault = "429" if server.active > server.most else server.plan(text, before)
            if fault:
                server.faults[fault] += 1
        try:
            self._answer(body, text, fault)
        except OSError:
            self.close_connection = True  # the client has gone
        finally:
            with server.lock:
                server.active -= 1

    def _answer(self, body: Body, text: str, fault: str | None) -> None:
        unknown = next((name for name in ("max_tokens", "max_completion_tokens") if name in body), "")
        if unknown != self.endpoint.max_tokens:
            self._refuse(unknown, "unsupported_parameter")
        elif body.get("logprobs") and body["top_logprobs"] > self.endpoint.lists:
            self._refuse("top_logprobs", "invalid_value")
        elif "response_format" in body and not self.endpoint.holds:
            self._refuse("response_format", "invalid_value")
        elif fault == "echo in the error":
            self._send(400, {"error": {"message": f"bad header {self.headers['Authorization']}"}})
        elif fault in STATUS:
            status, headers, code, message = STATUS[fault]
            self._send(status, {"error": {"message": message, "code": code, "type": code, "param": None}}, headers)
        elif fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
        elif fault == "html":
            self._raw(200, b"<!doctype html><title>gateway</title>", {})
        elif fault == "hang":
            time.sleep(5)
            self.close_connection = True
        elif fault == "drip":
            self._drip(json.dumps(self._honest(body, text)).encode())
        else:
            self._pay(body, text, fault)

    def _refuse(self, parameter: str, code: str) -> None:
        message = f"Unsupported parameter: {parameter}"
        self._send(
            400, {"error": {"message": message, "code": code, "param": parameter, "type": "invalid_request_error"}}
        )

    def _pay(self, body: Body, text: str, fault: str | None) -> None:
        """Answer, with one field spoilt, and count it as billed."""
        time.sleep(self.endpoint.delay)
        answer = self._honest(body, text)
        if fault in FIELDS:
            path, value = FIELDS[fault]
            part: Any = answer
            for name in path[:-1]:
                part = part[name]
            part[path[-1]] = value
        elif fault == "echo":
            answer["choices"][0]["message"]["content"] = f"you sent {self.headers.get('Authorization')}"
        elif fault is not None and fault != "cut":
            raise ValueError(fault)
        raw = json.dumps(answer).encode()
        with self.endpoint.lock:
            self.endpoint.billed[text] += 1
        self._raw(200, raw[: len(raw) // 2] if fault == "cut" else raw, {})

    def _honest(self, body: Body, text: str) -> Body:
        a = p_of_a(text)
        entries = [("A", a * 0.75), (" A", a * 0.25), ("B", 0.99 - a), ("The", 0.005)]
        if text.startswith(("Rate", "Write this")):  # scores: every other one is unlikely
            entries = [("1" if self.endpoint.splits else "10", 0.6), ("2", 0.39), ("The", 1e-5)]
        top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in entries]
        wanted = body.get("top_logprobs", 0)
        logprobs = {"content": [{**top[0], "top_logprobs": top[:wanted]}]} if body.get("logprobs") else None
        content = f"reply to {text}" if not logprobs else "A"
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]
            content = json.dumps({"answer": schema["properties"]["answer"]["enum"][0]})
        return {
            "id": "x",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "length" if body.get("max_tokens") == 1 else "stop",
                    "message": {"role": "assistant", "content": content},
                    "logprobs": logprobs,
                }
            ],
            "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS},
        }

    def _drip(self, raw: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        for byte in raw:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def _send(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), headers or {})

    def _raw(self, status: int, raw: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
