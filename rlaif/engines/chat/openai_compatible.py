"""Critics and generators behind any OpenAI-compatible endpoint: OpenAI itself, a vLLM or llama.cpp server, and others.

How an option's log-probability is read depends on the endpoint, surest first:
1. A vLLM server tells how its tokenizer spells the options and gives the log-probabilities of exactly those tokens.
   An option of several tokens ("10" as "1", "0") is read token by token, by going on from the prompt's own token ids.
2. Others list the likeliest tokens at the beginning of the reply. What is not listed is bounded, or a failure.
3. Those that give no log-probabilities can often hold a reply to the options, or else write text that is parsed.

Left out: the Responses API, tools, images, batches at a later hour.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rlaif.critique.templates import neutralise
from rlaif.engines.chat import openai_wire as wire
from rlaif.engines.chat.control_tokens import CONTROL_TOKENS
from rlaif.engines.chat.openai_http import Refused, Stopped, Transport, Unanswered, endpoint
from rlaif.ports.budget import Budget
from rlaif.ports.chat import (
    Failure,
    GenerateRequest,
    Generation,
    OnAnswer,
    OptionLogprobs,
    OptionRequest,
    Reading,
    Sampling,
    Usage,
)
from rlaif.records.errors import RunHalted
from rlaif.records.prompt import Message

# No token is shorter than a byte. Roles and what a chat template adds come on top of the texts.
TOKENS_PER_MESSAGE = 16
TOKENS_PER_REQUEST = 256
TOP_LOGPROBS = (20, 5)  # what endpoints list at most: OpenAI and vLLM; some others
CHOICE_TOKENS = 256  # for a choice inside a JSON object, and the white space or reasoning that some models put first
PROBES = 3  # times that an endpoint is asked again before an unusable list of log-probabilities is taken for none
# Some templates read the clock or open a reasoning block by default; the reply must begin at the option.
VLLM_TEMPLATE = {"chat_template_kwargs": {"date_string": "26 Jul 2024", "enable_thinking": False}}
# The model's own distribution, whatever generation_config.json asks for.
VLLM_SAMPLING = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}

A = TypeVar("A", OptionLogprobs, Generation)
R = TypeVar("R", bound=OptionRequest | GenerateRequest)


class Ability(NamedTuple):
    """What was found out about an endpoint."""

    reading: Reading
    top_logprobs: int  # tokens that it lists; 0 without log-probabilities


class Plan(NamedTuple):
    """How a set of options is read: token by token, from the list of the likeliest, or not at all."""

    spelling: wire.Spelling | None = None
    impossible: str = ""  # the reason


class OpenAIChat:
    """A chat model behind OPENAI_BASE_URL, asked with the key OPENAI_API_KEY.

    Answers do not depend on the concurrency. Seeds are passed on; how far they fix a sample is the endpoint's matter.

    Args:
        model: the name by which the endpoint knows it.
        budget: ledger that every request is reserved in before it is sent.
        concurrency: requests in flight at most; fewer where the endpoint complains.
        timeout: seconds that one request may spend on the wire, all attempts together; one attempt gets half of it.
        attempts: how often a request is sent at most.
        options: what other engines take (dtype, batch_size, ...); accepted, without effect.

    Raises:
        InputError: what the environment says of the endpoint or the key is no good.
    """

    block = 1024  # each call waits for its slowest answer, so a few large ones lose less

    def __init__(
        self,
        model: str,
        *,
        budget: Budget | None = None,
        concurrency: int = 32,
        timeout: float = 120.0,
        attempts: int = 8,
        **options: Any,
    ) -> None:
        self._endpoint = endpoint()
        self._model = model
        self._limits: dict[str, Any] = {"most": concurrency, "timeout": timeout, "attempts": attempts, "budget": budget}
        self._is_vllm: bool | None = None
        self._found: Ability | None = None
        self._max_tokens = "max_tokens"
        self._plans: dict[tuple[str, ...], Plan] = {}
        self.spec = f"openai:{model}"
        self.digest = hashlib.sha256(f"{self._endpoint.url}\0{model}".encode()).hexdigest()

    @property
    def reading(self) -> Reading:
        """See `ChatModel`. Found out by one to a few requests of some tokens each.

        Raises: as `option_logprobs`.
        """
        if self._found is None:
            self._run([], self._options, None, probe=True)
        assert self._found is not None
        return self._found.reading

    def option_logprobs(
        self, requests: Sequence[OptionRequest], on_answer: OnAnswer | None = None
    ) -> list[OptionLogprobs | Failure]:
        """See `ChatModel`.

        Raises:
            InputError: the endpoint refuses the key, or knows neither address nor model.
            RunHalted: the quota is used up, the budget is spent, or the endpoint gives no answer at all.
            KeyboardInterrupt: Ctrl-C, when everything in flight was handed to `on_answer`.
        """
        return self._run(requests, self._options, on_answer, probe=bool(requests))

    def generate(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, on_answer: OnAnswer | None = None
    ) -> list[Generation | Failure]:
        """See `ChatModel`. Where the endpoint cannot hold a reply to `choices`, it is free text.

        Raises: as `option_logprobs`.
        """

        async def ask(transport: Transport, request: GenerateRequest) -> Generation | Failure:
            return await self._text(transport, request, sampling)

        return self._run(requests, ask, on_answer, probe=any(request.choices for request in requests))

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def _run(
        self,
        requests: Sequence[R],
        ask: Callable[[Transport, R], Awaitable[A | Failure]],
        on_answer: OnAnswer | None,
        *,
        probe: bool,
    ) -> list[A | Failure]:
        if not requests and not probe:
            return []
        answers: dict[int, A | Failure] = {}

        def keep(index: int, answer: A | Failure) -> None:
            answers[index] = answer
            if on_answer:
                on_answer(index, answer)

        # The reason to stop is raised out here: inside, KeyboardInterrupt would tear the event loop down.
        if stop := asyncio.run(self._answer(requests, ask, keep, probe)):
            raise stop
        return [answers[index] for index in range(len(requests))]

    async def _answer(
        self,
        requests: Sequence[R],
        ask: Callable[[Transport, R], Awaitable[A | Failure]],
        keep: Callable[[int, A | Failure], None],
        probe: bool,
    ) -> BaseException | None:
        """Hand every answer to `keep`; the reason, if not all of them came."""
        transport = Transport(self._endpoint, **self._limits)
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for index, request in waiting:
                try:
                    keep(index, await ask(transport, request))
                except Stopped:
                    return
                except Exception as error:  # a full disk, a defect: what is in flight is still handed over
                    transport.halt(error)
                    return

        try:
            await self._find_out(transport, probe, {r.options for r in requests if isinstance(r, OptionRequest)})
            await asyncio.gather(*(work() for _ in range(min(self._limits["most"], len(requests)))))
        except Stopped:
            pass
        finally:
            await transport.close()
        self._limits["size"] = transport.window.size
        return transport.stop

    async def _find_out(self, transport: Transport, probe: bool, options: set[tuple[str, ...]]) -> None:
        """Ask what the endpoint can do. Faults on the way decide nothing: they stop the run."""
        try:
            if self._is_vllm is None:
                self._is_vllm = await self._served_by_vllm(transport)
            if probe and self._found is None:
                self._found = await self._probe(transport)
            for one in sorted(options - self._plans.keys()):
                self._plans[one] = await self._plan(transport, one)
        except Unanswered as fault:
            url = self._endpoint.url
            raise transport.halt(
                RunHalted(f"{url} does not answer: {fault}. Check that it is up, then run it again")
            ) from None

    async def _served_by_vllm(self, transport: Transport) -> bool:
        try:
            models = wire.parsed(wire.Models, (await transport.ask("/models", optional=True)).data)
        except (Refused, wire.Unusable):
            return False
        return any(model.owned_by == "vllm" for model in models.data)

    async def _probe(self, transport: Transport) -> Ability:
        messages = [Message(role="user", content="Answer with the letter A.")]
        for top in TOP_LOGPROBS:
            if await self._lists(transport, messages, top):
                return Ability("logprobs", top)
        try:
            await self._choose(transport, GenerateRequest(messages, 0, ("A", "B")), Sampling(1.0, 1), [])
        except (Refused, wire.Unusable):
            return Ability("text", 0)
        return Ability("choices", 0)

    async def _lists(self, transport: Transport, messages: Sequence[Message], top: int) -> bool:
        for _ in range(PROBES):
            try:
                return wire.first_position(await self._chat(transport, messages, _list_of(top), 1, [])) is not None
            except Refused:
                return False
            except wire.Unusable:
                continue
        return False

    async def _plan(self, transport: Transport, options: tuple[str, ...]) -> Plan:
        """How to read these options from this endpoint."""
        assert self._found is not None
        try:
            if self._found.reading != "logprobs":
                raise wire.Unusable("this endpoint gives no log-probabilities")
            if spelling := await self._spelling(transport, options):
                return Plan(spelling)
            for longer in {one for one in options for other in options if one != other and one.startswith(other)}:
                await self._check_whole(transport, longer)
        except wire.Unusable as fault:
            return Plan(impossible=str(fault))
        return Plan()

    async def _spelling(self, transport: Transport, options: tuple[str, ...]) -> wire.Spelling | None:
        """How vLLM's tokenizer spells the options; None where there is no asking it."""
        root, _, version = self._endpoint.url.rpartition("/")
        if not self._is_vllm or version != "v1":
            return None
        tokenised = {}
        for text in (before + option for option in options for before in ("", " ", "(")):
            body = {"model": self._model, "prompt": text, "add_special_tokens": False, "return_token_strs": True}
            try:
                answer = await transport.ask(f"{root}/tokenize", body, optional=True)
            except Refused:
                return None
            tokenised[text] = wire.parsed(wire.Tokens, answer.data)
        return wire.spelling(options, tokenised)

    async def _check_whole(self, transport: Transport, option: str) -> None:
        """Make the endpoint write an option that begins with another one, to see that it is a token of its own.

        Raises:
            Unusable: it is not, or the model does not write it: then the shorter option would count the longer one.
        """
        assert self._found is not None
        messages = [Message(role="user", content=f"Write this and nothing else: {option}")]
        try:
            chat = await self._chat(transport, messages, _list_of(self._found.top_logprobs), 1, [])
        except Refused as fault:
            raise wire.Unusable(str(fault)) from None
        if wire.drawn(chat) != option:
            raise wire.Unusable(f"this endpoint may write {option!r} in several tokens, and cannot be asked for them")

    async def _options(self, transport: Transport, request: OptionRequest) -> OptionLogprobs | Failure:
        assert self._found is not None
        plan, bill = self._plans[request.options], list[Usage]()
        try:
            if plan.impossible:
                raise wire.Unusable(plan.impossible)
            if plan.spelling:
                values = await self._read_paths(transport, request.messages, plan.spelling, bill)
            else:
                top = _list_of(self._found.top_logprobs)
                entries = wire.first_position(await self._chat(transport, request.messages, top, 1, bill))
                values = wire.from_list(entries or [], request.options)
        except (Refused, Unanswered, wire.Unusable) as fault:
            return self._failure(fault, bill)
        return OptionLogprobs(values, _total(bill))

    async def _read_paths(
        self, transport: Transport, messages: Sequence[Message], spelling: wire.Spelling, bill: list[Usage]
    ) -> tuple[float, ...]:
        """Ask vLLM for exactly the tokens that spell the options, at the beginning and after each of their prefixes."""
        wanted = {prefix: spelling.after(prefix) for prefix in spelling.prefixes()}
        common: dict[str, Any] = {"temperature": 1.0, "return_tokens_as_token_ids": True}
        body = {**common, "logprobs": True, "logprob_token_ids": wanted[()], "return_token_ids": len(wanted) > 1}
        chat = await self._chat(transport, messages, body, 1, bill)
        entries = wire.first_position(chat) or []
        read: dict[wire.Path, dict[int, float]] = {}
        read[()] = wire.by_id([(entry.token, entry.logprob) for entry in entries], wanted.pop(()))
        for prefix, tokens in wanted.items():
            if not chat.prompt_token_ids:
                raise wire.Unusable("the endpoint does not give the prompt's token ids")
            ids = [*chat.prompt_token_ids, *prefix]
            body = {**common, "model": self._model, "prompt": ids, "max_tokens": 1}
            body |= {"logprobs": 1, "logprob_token_ids": tokens}
            answer = await transport.ask("/completions", body, bound=(len(ids), 1))
            bill.append(answer.usage)
            listing = wire.parsed(wire.Completion, answer.data).choices[0].logprobs.top_logprobs[0]
            read[prefix] = wire.by_id(listing.items(), tokens)
        return wire.from_paths(spelling, read)

    async def _text(self, transport: Transport, request: GenerateRequest, sampling: Sampling) -> Generation | Failure:
        bill: list[Usage] = []
        try:
            if request.choices and (self._is_vllm or (self._found and self._found.reading == "choices")):
                text = wire.Text(await self._choose(transport, request, sampling, bill), finished=True)
            else:
                body = self._sampling(request, sampling)
                text = wire.text(await self._chat(transport, request.messages, body, sampling.max_tokens, bill))
        except (Refused, Unanswered, wire.Unusable) as fault:
            return self._failure(fault, bill)
        usage = _total(bill)
        return Generation(self._endpoint.redacted(text.content), text.finished, usage.completion_tokens, usage)

    async def _choose(
        self, transport: Transport, request: GenerateRequest, sampling: Sampling, bill: list[Usage]
    ) -> str:
        """One of the choices, to which vLLM holds the reply as it is, and others a field of a JSON object."""
        body, needed = self._sampling(request, sampling), CHOICE_TOKENS
        if self._is_vllm:
            body["structured_outputs"] = {"choice": request.choices}
            needed = max(len(choice.encode()) for choice in request.choices) + 1
        else:
            body["response_format"] = wire.choice_format(request.choices)
        chat = await self._chat(transport, request.messages, body, max(needed, sampling.max_tokens), bill)
        content = wire.text(chat).content
        choice = content if self._is_vllm else wire.chosen(content)
        if choice not in request.choices:
            raise wire.Unusable(f"the endpoint did not hold its reply to the choices: {content[:60]!r}")
        return choice

    def _sampling(self, request: GenerateRequest, sampling: Sampling) -> dict[str, Any]:
        common = {"temperature": sampling.temperature, "seed": request.seed % 2**63}
        return {**common, **VLLM_SAMPLING} if self._is_vllm else common

    async def _chat(
        self,
        transport: Transport,
        messages: Sequence[Message],
        body: Mapping[str, Any],
        max_tokens: int,
        bill: list[Usage],
    ) -> wire.Chat:
        """Send messages; what was billed is on the bill also where the answer is unusable.

        Raises:
            Refused, Unanswered, Stopped: as `Transport.ask`.
            Unusable: the text cannot be sent, or the answer has a wrong form.
        """
        turns = [{"role": m.role, "content": neutralise(m.content, CONTROL_TOKENS)} for m in messages]
        try:
            size = sum(len(turn["content"].encode()) for turn in turns)
        except UnicodeEncodeError:
            raise wire.Unusable("the text holds half of a surrogate pair") from None
        bound = (size + TOKENS_PER_MESSAGE * len(turns) + TOKENS_PER_REQUEST, max_tokens)
        name = self._max_tokens
        full = {"model": self._model, "messages": turns, **body, **(VLLM_TEMPLATE if self._is_vllm else {})}
        try:
            answer = await transport.ask("/chat/completions", {**full, name: max_tokens}, bound=bound)
        except Refused as fault:
            if name != "max_tokens" or fault.unsupported != name:
                raise
            self._max_tokens = "max_completion_tokens"  # what newer models of OpenAI want
            answer = await transport.ask("/chat/completions", {**full, self._max_tokens: max_tokens}, bound=bound)
        bill.append(answer.usage)
        return wire.parsed(wire.Chat, answer.data)

    def _failure(self, fault: Exception, bill: list[Usage]) -> Failure:
        return Failure(self._endpoint.clean(str(fault)), _total(bill))


def _list_of(top: int) -> dict[str, Any]:
    # Temperature 1: at 0 some servers report the distribution that is left, all of it on one token.
    return {"temperature": 1.0, "logprobs": True, "top_logprobs": top}


def _total(bill: Sequence[Usage]) -> Usage:
    return Usage(sum(u.prompt_tokens for u in bill), sum(u.completion_tokens for u in bill))
