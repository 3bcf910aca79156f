"""Pushing: what is shown, what is refused, and what reaches a Hub, here one on loopback."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rlaif.records import secrets
from tests.commandline import Done, rlaif
from tests.commands.runs import make_run

TOKEN = "hf_" + "a1B2" * 9
# In two halves, so that nobody takes these for keys.
KEYS = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "OpenAI key": "sk-" + "proj-" + "Ab1" * 12,
    "Anthropic key": "sk-" + "ant-" + "api03-" + "x9" * 20,
    "Hugging Face token": TOKEN,
    "GitHub token": "gh" + "p_" + "Z" * 36,
    "AWS access key": "AK" + "IA" + "ABCDEFGHIJKLMNOP",
    "Slack token": "xo" + "xb-" + "1234567890-abc",
    "JSON web token": "ey" + "J" + "h" * 20 + ".ey" + "J" + "s" * 20 + "." + "q" * 20,
    "password in a URL": "postgres://" + "me:letmein@" + "db.test/x",
    "authorization header": "Authorization: " + "Bearer " + "abcdefghijklmnop1234",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("push") / "run")
    assert rlaif("card", "run", cwd=folder.parent).returncode == 0
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}\n")
    (folder / "model.safetensors").write_bytes(bytes(32))
    (folder / ".hidden").write_text(TOKEN)
    return folder


class FakeHub(ThreadingHTTPServer):
    """Answers as the Hub does to what a push asks, and keeps what it was sent."""

    def __init__(self, *, private: bool = True) -> None:
        self.private, self.asked = private, list[tuple[str, str, str]]()
        super().__init__(("127.0.0.1", 0), FakeHandler)


class FakeHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.asked.append((self.path, self.headers.get("authorization", ""), body))
        url = f"http://127.0.0.1:{self.server.server_port}"
        answer: dict[str, Any] = {"url": f"{url}/me/x"}
        if "/preupload/" in self.path:
            answer = {
                "files": [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
            }
        if "/commit/" in self.path:
            answer = {"commitUrl": f"{url}/me/x/commit/1", "commitOid": "1", "success": True}
        self.answer(answer)

    def do_GET(self) -> None:
        self.answer({"id": "me/x", "private": self.server.private, "sha": "1", "siblings": []})

    def answer(self, data: dict[str, Any]) -> None:
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(params=[True])
def hub(request: pytest.FixtureRequest) -> Iterator[FakeHub]:
    server = FakeHub(private=request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def over_network(hub: FakeHub, *arguments: str, cwd: Path) -> Done:
    """The command in a process of its own, because libraries read HF_HUB_OFFLINE when they are imported."""
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN}
    command = [sys.executable, "-m", "rlaif", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_policy_goes_with_its_cards_to_a_private_repository(hub: FakeHub, made: Path) -> None:
    done = over_network(hub, "push", "run/policy/model", "me/x", cwd=made.parent)
    assert done.returncode == 0, done.stderr
    assert "pushed: http://127.0.0.1" in done.stdout and "private: 5 files" in done.stderr
    (created,) = [json.loads(body) for path, _, body in hub.asked if path == "/api/repos/create"]
    assert created["visibility"] == "private" and created["organization"] == "me" and created["name"] == "x"
    (commit,) = [body for path, _, body in hub.asked if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {e["value"]["path"]: base64.b64decode(e["value"]["content"]) for e in lines if e["key"] == "file"}
    assert set(sent) == {"config.json", "model.safetensors", "README.md", "disclosure.md", "card.json"}
    assert sent["README.md"] == (made / "card/model/README.md").read_bytes()
    assert all(token == f"Bearer {TOKEN}" for _, token, _ in hub.asked) and TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize("hub", [False], indirect=True)
def test_a_public_repository_gets_nothing_that_is_meant_to_be_private(hub: FakeHub, model: Path) -> None:
    done = over_network(hub, "push", "model", "me/x", cwd=model.parent)
    assert done.returncode == 3 and "is public: nothing was sent" in done.stderr
    assert not [path for path, _, _ in hub.asked if "/commit/" in path]


def test_a_dry_run_shows_the_files_and_opens_no_socket(
    made: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = rlaif("push", "run/label/dataset", "me/x", "--dry-run", "--json", cwd=made.parent)
    data = json.loads(done.stdout)
    assert done.returncode == 0 and data["url"] is None and data["kind"] == "dataset" and not data["public"]
    assert data["files"]["default/train.parquet"] == (made / "label/dataset/default/train.parquet").stat().st_size
    done = rlaif("push", "model", "me/x", "--dry-run", cwd=model.parent)
    assert "no card goes with it" in done.stderr and ".hidden" not in done.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = rlaif("push", "model", "me/x", cwd=model.parent)
    assert done.returncode == 2 and "HF_HUB_OFFLINE is set" in done.stderr


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_found_and_never_shown(kind: str, model: Path) -> None:
    (model / "notes.txt").write_text(f"first line\nmy key: {KEYS[kind]} end\n")
    done = rlaif("push", "model", "me/x", "--dry-run", cwd=model.parent)
    assert done.returncode == 3 and f"model/notes.txt:2: {kind}, value not shown" in done.stderr
    assert KEYS[kind] not in done.stderr and "nothing was sent" in done.stderr


def test_a_key_in_a_data_set_is_found_by_its_row(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "data").mkdir()
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("hello", f"use {KEYS['OpenAI key']}")]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data/train.parquet")
    done = rlaif("push", "data", "me/x", "--dry-run", cwd=tmp_path)
    assert done.returncode == 3 and "data/train.parquet:2: OpenAI key" in done.stderr


def test_this_process_knows_its_own_keys(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setenv("COMPANY_API_KEY", "correct horse battery")
    (model / "chat_template.jinja").write_text("hello correct horse battery staple")
    done = rlaif("push", "model", "me/x", "--dry-run", cwd=model.parent)
    assert done.returncode == 3 and "chat_template.jinja:1: the value of COMPANY_API_KEY" in done.stderr


def test_ordinary_text_is_no_secret_and_a_long_line_is_no_trouble() -> None:
    plain = [
        "the task-force asked a risk-averse person",
        "http://host:80/a@b",
        "sk-learn",
        "hf_model",
        "AKIA",
        "x: Bearer y",
    ]
    assert list(secrets.scan(plain, {})) == []
    began = time.process_time()
    for unit in ("eyJ-", "a-", "a+b://c:", "Authorization: ", "-----BEGIN "):
        assert list(secrets.scan([unit * (100_000 // len(unit))], {})) == []
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("name", "environment", "words"),
    [
        ("x", {}, "is no name on the Hub"),
        ("me/x", {"HF_HUB_OFFLINE": "0"}, "HF_TOKEN is not set"),
        ("me/x", {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "t", "HF_ENDPOINT": "http://hub.test"}, "is not https"),
    ],
)
def test_what_cannot_be_pushed_is_refused(
    name: str, environment: dict[str, str], words: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    done = rlaif("push", "model", name, cwd=model.parent)
    assert done.returncode == 2 and words in done.stderr


def test_a_folder_that_is_neither_a_link_and_a_card_of_other_files_are_refused(made: Path, model: Path) -> None:
    assert "this is all of a run" in rlaif("push", "run", "me/x", cwd=made.parent).stderr
    assert "neither a model nor a data set" in rlaif("push", "run/card", "me/x", cwd=made.parent).stderr
    assert "no such folder" in rlaif("push", "nowhere", "me/x", cwd=made.parent).stderr
    (made / "policy/model/added.txt").write_text("x")
    done = rlaif("push", "run/policy/model", "me/x", "--dry-run", cwd=made.parent)
    (made / "policy/model/added.txt").unlink()
    assert done.returncode == 2 and "the card beside it is of other files" in done.stderr
    (model / "link").symlink_to("/etc/hostname")
    assert "this is a link" in rlaif("push", "model", "me/x", "--dry-run", cwd=model.parent).stderr
