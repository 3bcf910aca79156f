"""Requests to an OpenAI-compatible endpoint, sent until one is answered.

The window of requests in flight grows while answers come and halves when the endpoint says that it is too much. What
the endpoint refuses for one request is told apart from what would stop every request.

Left out: streaming (one token is read, or a whole reply), and the SDK's own retries, which know neither this window
nor a budget.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openai
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from rlaif.ports import interrupt
from rlaif.ports.budget import Budget
from rlaif.ports.chat import Usage
from rlaif.records.errors import InputError, RunHalted

logger = logging.getLogger(__name__)

DEFAULT_URL = "https://api.openai.com/v1"
FIRST_WINDOW = 8  # requests in flight before anything is known of the endpoint
BACKOFF = 0.5  # seconds: the mean wait after the first fault is half of it, and doubles
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 600.0  # an endpoint that asks to wait longer than this many seconds stops the run
ATTEMPT_SHARE = 0.5  # of the deadline that one attempt may take, so that a dead one leaves time for another
GLANCE = 0.1  # seconds between looks at whether to stop
SECRET = 8  # characters from which on a key is looked for in texts; "EMPTY" and its like are no secrets
SHOWN = 300  # characters of an endpoint's message that go into a reason
RETRIED = frozenset({408, 409, 425, 429})
OVERLOADED = frozenset({429, 503})
UNPAID = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
FIX_KEY = "set OPENAI_API_KEY to a key of this endpoint"
FIX_URL = "check OPENAI_BASE_URL, which usually ends in /v1, and the model's name"


class Refused(Exception):
    """The endpoint does not answer this request, and would not if it were sent again."""

    def __init__(self, reason: str, unsupported: str = "") -> None:
        super().__init__(reason)
        self.unsupported = unsupported  # the parameter that it does not know


class Unanswered(Exception):
    """This attempt got no answer; another may."""


class TimeUp(Unanswered):
    """No attempt got an answer, and there is no time for another."""


class Stopped(Exception):
    """Nothing more is sent; `Transport.stop` says why."""


class Answer(NamedTuple):
    """A JSON object, not yet checked in any other way, and what it was billed for."""

    data: dict[str, Any]
    usage: Usage


class Endpoint(NamedTuple):
    """Where to ask, and the key to ask with."""

    url: str
    key: SecretStr | None
    loopback: bool

    def clean(self, text: str) -> str:
        """Text of the endpoint for a message: one short line of printable characters, without the key."""
        printable = "".join(c if c.isprintable() else " " for c in self.redacted(text))
        line = " ".join(printable.split())
        return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."

    def redacted(self, text: str) -> str:
        """Text of the endpoint without the key, which some echo."""
        key = self.key.get_secret_value() if self.key else ""
        return text.replace(key, "[redacted]") if len(key) >= SECRET else text


def endpoint() -> Endpoint:
    """The endpoint that OPENAI_BASE_URL and OPENAI_API_KEY name.

    Raises:
        InputError: the URL is none, carries credentials, or would send the key or the texts in the clear; no key.
    """
    url = os.environ.get("OPENAI_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("OPENAI_BASE_URL is no http(s) URL", fix="set it to, for example, http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        fix = "put the key into OPENAI_API_KEY, and nothing but the address into OPENAI_BASE_URL"
        raise InputError("OPENAI_BASE_URL carries a user name, a password or a query", fix=fix)
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not loopback:
        raise InputError(f"{url} is not encrypted", fix="use https; http is for this machine (127.0.0.1) alone")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and not loopback:
        raise InputError(f"OPENAI_API_KEY is not set, and {url} needs one", fix=FIX_KEY)
    if not (key.isascii() and key.isprintable()):
        raise InputError("OPENAI_API_KEY holds characters that no key has", fix=FIX_KEY)
    return Endpoint(url, SecretStr(key) if key else None, loopback)


class Window:
    """How many requests may be in flight: additive increase, multiplicative decrease, one pause for all.

    Until the endpoint first complains each answer adds one; after that a whole window of answers does.
    """

    def __init__(self, most: int, size: float = FIRST_WINDOW) -> None:
        self.most = most
        self.size = min(float(most), size)
        self.active = 0
        self._complained = False
        self._halved_at = 0.0
        self._open_at = 0.0
        self._changed = asyncio.Event()

    async def enter(self) -> bool:
        """Wait for a turn, a glance at most; whether it has come."""
        pause = self._open_at - time.monotonic()
        if pause <= 0 and self.active < int(self.size):
            self.active += 1
            return True
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), min(GLANCE, pause) if pause > 0 else GLANCE)
        return False

    def leave(self) -> None:
        self.active -= 1
        self._changed.set()

    def grow(self) -> None:
        """An answer came."""
        self.size = min(float(self.most), self.size + (1 / self.size if self._complained else 1))

    def shrink(self, sent_at: float, wait: float | None) -> None:
        """The endpoint complained about a request sent at `sent_at`; complaints about one window halve it once."""
        self._complained = True
        if sent_at >= self._halved_at:
            self.size = max(1.0, self.size / 2)
            self._halved_at = time.monotonic()
        if wait is not None:
            self._open_at = max(self._open_at, time.monotonic() + wait)


class Transport:
    """Sends the requests of one call, in one event loop.

    Args:
        endpoint: where to.
        most: requests in flight at most.
        timeout: seconds that a request may spend on the wire, all its attempts together; waiting for a turn, or
            because the endpoint says so, does not count. One attempt gets half of it, however slowly bytes drip in.
        attempts: how often a request is sent at most.
        budget: reserved before each attempt that may be billed.
        size: requests in flight to begin with, where an earlier call has found that out.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        most: int,
        timeout: float,
        attempts: int,
        budget: Budget | None = None,
        size: float = FIRST_WINDOW,
    ) -> None:
        self.endpoint = endpoint
        self.stop: BaseException | None = None
        self.window = Window(most, size)
        self._told = 0  # attempts of any request that the user has heard of
        self._timeout = timeout
        self._attempts = attempts
        self._budget = budget
        # A key must not follow a redirect, and what this machine is asked does not go through a proxy.
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not endpoint.loopback)
        key = endpoint.key.get_secret_value() if endpoint.key else "none"
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.url, max_retries=0, timeout=timeout, http_client=http
        )

    async def close(self) -> None:
        await self._client.close()

    def halt(self, error: BaseException) -> Stopped:
        """Send nothing more; the first reason stands."""
        self.stop = self.stop or error
        return Stopped()

    def check(self) -> None:
        """Raise `Stopped` if nothing more is to be sent, because of a fault or of Ctrl-C."""
        if interrupt.requested():
            raise self.halt(KeyboardInterrupt())
        if self.stop:
            raise Stopped

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        bound: tuple[int, int] = (0, 0),
        optional: bool = False,
    ) -> Answer:
        """Send one request until it is answered with a JSON object.

        Args:
            path: below the base URL, or a whole URL.
            body: what is posted; without it the request is a GET.
            bound: tokens of prompt and reply that may be billed at most.
            optional: whether the endpoint may lack the path; what it says against it is then `Refused`, no more.

        Raises:
            Refused: a fault of this request.
            Unanswered: every attempt failed, or time was up.
            Stopped: a fault that every request has, the budget is spent, or Ctrl-C.
        """
        spent = 0.0
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=_backoff,
            retry=retry_if_exception(lambda fault: type(fault) is Unanswered),
            sleep=self._pause,
            before_sleep=self._tell,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                await self._turn()
                begun = time.monotonic()
                try:
                    left = self._timeout - spent
                    return await self._attempt(path, body, bound, min(left, self._timeout * ATTEMPT_SHARE), optional)
                except Unanswered as fault:
                    spent += time.monotonic() - begun
                    if spent >= self._timeout:
                        raise TimeUp(f"{fault} ({self._timeout:g} s for this request are over)") from None
                    raise
                finally:
                    self.window.leave()
        raise AssertionError("tenacity returns or raises")

    async def _attempt(
        self, path: str, body: Mapping[str, Any] | None, bound: tuple[int, int], seconds: float, optional: bool
    ) -> Answer:
        ticket = self._reserve(bound)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                if body is None:
                    text = await self._client.get(path, cast_to=str)
                else:
                    text = await self._client.post(path, cast_to=str, body=body)
        except (TimeoutError, openai.APITimeoutError):
            raise Unanswered(f"no complete answer within {seconds:.3g} s") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):  # nothing was sent
                self._settle(ticket, Usage())
            raise Unanswered(f"the connection failed: {self._why(cause or error)}") from None
        except openai.APIStatusError as error:
            self._settle(ticket, Usage())
            raise self._fault(error, begun, optional) from None
        answer = self._parse(text)
        self.window.grow()
        if answer.usage != Usage():  # an endpoint that does not say what it billed may have billed the worst case
            self._settle(ticket, answer.usage)
        return answer

    def _parse(self, text: str) -> Answer:
        """The stdlib's parser takes NaN and half surrogates, which are faults of one value, not of the transport."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            start = self.endpoint.clean(text)[:60]
            raise Unanswered(f"the endpoint's answer is no JSON object: {start!r}")
        return Answer(data, _usage(data.get("usage")))

    def _fault(self, error: openai.APIStatusError, sent_at: float, optional: bool) -> Exception:
        """What an error status means: for this attempt, this request, or every request."""
        status, message = error.status_code, self._message(error)
        told = f"the endpoint answered {status}: {message}"
        if status == 402 or {str(error.code), str(error.type)} & UNPAID:
            return self.halt(RunHalted(f"the endpoint's quota is used up ({message}). Add credit, then run it again"))
        if status in RETRIED or status >= 500:
            wait = retry_after(error.response.headers)
            if wait is not None and wait > LONGEST_WAIT:
                return self.halt(RunHalted(f"{told}; it asks to wait {wait:.0f} s. Run the same command again then"))
            if status in OVERLOADED or wait is not None:
                self.window.shrink(sent_at, wait)
            return Unanswered(told)
        if optional:
            return Refused(told)
        if status in (401, 403):  # the message may echo parts of the key
            return self.halt(InputError(f"{self.endpoint.url} answered {status}: it refuses the key", fix=FIX_KEY))
        if status in (404, 405) or status < 400:
            return self.halt(InputError(f"{self.endpoint.url} answered {status}: {message}", fix=FIX_URL))
        return Refused(told, str(error.param) if error.code == "unsupported_parameter" else "")

    def _message(self, error: openai.APIStatusError) -> str:
        if error.status_code < 400:
            return f"a redirect to {self.endpoint.clean(error.response.headers.get('location', 'nowhere'))}"
        body = error.body
        message = body.get("message") if isinstance(body, dict) else body
        return self.endpoint.clean(message if isinstance(message, str) else error.response.text) or "no reason given"

    def _why(self, error: BaseException) -> str:
        return self.endpoint.clean(str(error)) or type(error).__name__

    async def _turn(self) -> None:
        self.check()
        while not await self.window.enter():
            self.check()

    def _tell(self, state: RetryCallState) -> None:
        """One line an attempt, not one a request: an endpoint that is down keeps many waiting."""
        if state.attempt_number > self._told and state.outcome is not None:
            self._told = state.attempt_number
            logger.warning("waiting for %s: %s", self.endpoint.url, state.outcome.exception())

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            await asyncio.sleep(min(GLANCE, left))

    def _reserve(self, bound: tuple[int, int]) -> int | None:
        if self._budget is None or bound == (0, 0):
            return None
        try:
            return self._budget.reserve(*bound)
        except (RunHalted, InputError) as error:
            raise self.halt(error) from None

    def _settle(self, ticket: int | None, usage: Usage) -> None:
        if self._budget is not None and ticket is not None:
            self._budget.settle(ticket, usage)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks to wait, written as a number or as an HTTP date; None without one."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None


def _usage(billed: Any) -> Usage:
    """What an answer says that it was billed for; zeros where that cannot be read."""
    match billed:
        case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}:
            sound = min(prompt, completion) >= 0 and max(prompt, completion) < 2**31
            return Usage(prompt, completion) if sound else Usage()
    return Usage()


def _backoff(state: RetryCallState) -> float:
    return wait_random_exponential(multiplier=BACKOFF, max=LONGEST_BACKOFF)(state)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
