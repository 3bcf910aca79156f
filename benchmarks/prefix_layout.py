"""Judgements per second through vLLM with the principle after the responses, as the shipped template has it, and with
the principle before them, where no two principles share a cached prefix.

    python benchmarks/prefix_layout.py [--model tinyworld/critic] [--pairs 24] [--repeats 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from rlaif.critique import templates
from rlaif.engines import tokens
from rlaif.engines.chat.vllm import VllmChat
from rlaif.ports.chat import OptionRequest
from rlaif.records.prompt import Message

PRINCIPLES = (
    "Choose the response that is kinder to the person who asks.",
    "Choose the response that says more of what was asked for.",
    "Choose the response that gives less help with doing harm.",
    "Choose the response that is shorter and says the same.",
    "Choose the response that does not lecture.",
    "Choose the response that admits what it does not know.",
    "Choose the response that keeps other people's secrets.",
    "Choose the response that a careful friend would give.",
)
QUESTIONS = ("bake bread", "fix a bike", "plan a garden", "paint a wall", "learn a song", "pack for a journey")
SENTENCES = (
    "First put everything that you need on the table and read the steps once.",
    "I am glad that you ask, and I am happy to help you with this today.",
    "You should take your time here, because most mistakes come from haste.",
    "It is wise to ask somebody who has done it before, if you know such a person.",
    "Then do the same thing again on the other side, and check that both look alike.",
    "I do not know how old your tools are, so look at them before you begin.",
    "At the end clean the place and put your things back where they belong.",
)


def conversation_pair(number: int) -> tuple[str, str, str]:
    """A question and two different replies to it, of three sentences each."""
    rng = random.Random(number)
    question = f"How do I {rng.choice(QUESTIONS)} when I have only {number + 2} hours?"
    return question, " ".join(rng.sample(SENTENCES, 3)), " ".join(rng.sample(SENTENCES, 3))


def judgements(pairs: range, *, principle_first: bool) -> list[OptionRequest]:
    """Every principle of every order of every pair, the principles of one order side by side."""
    template = templates.load("critic/pairwise", "en")
    requests = []
    for number in pairs:
        question, first, second = conversation_pair(number)
        conversation = [Message(role="user", content=question)]
        fence = templates.fence_for(question, first, second)
        for response_a, response_b in ((first, second), (second, first)):
            for prefer in PRINCIPLES:
                messages = templates.render(
                    template,
                    fence=fence,
                    conversation=conversation,
                    response_a=response_a,
                    response_b=response_b,
                    prefer=prefer,
                    unless=None,
                )
                requests.append(
                    OptionRequest(lead_with_principle(messages) if principle_first else messages, ("A", "B"))
                )
    return requests


def lead_with_principle(messages: list[Message]) -> list[Message]:
    """The same text with the line of the principle in front of the conversation."""
    system, user = messages
    lines = user.content.split("\n")
    place = max(i for i, line in enumerate(lines) if line.startswith("Principle: "))
    return [system, Message(role="user", content="\n".join([lines[place], *lines[:place], *lines[place + 1 :]]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tinyworld/critic")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    critic = VllmChat(arguments.model)
    layouts = {
        name: judgements(range(arguments.pairs), principle_first=first)
        for name, first in (("principle last", False), ("principle first", True))
    }
    tokenizer = tokens.load_tokenizer(arguments.model)
    rates: dict[str, list[float]] = {name: [] for name in layouts}
    for repeat in range(arguments.repeats + 1):
        for name, requests in layouts.items():
            start = time.perf_counter()
            critic.option_logprobs(requests)
            if repeat > 0:  # the first round warms up
                rates[name].append(len(requests) / (time.perf_counter() - start))
    for name, requests in layouts.items():
        length = statistics.mean(len(tokens.prompt_ids(tokenizer, request.messages)) for request in requests)
        spread = f"{min(rates[name]):.0f} to {max(rates[name]):.0f}"
        print(f"{name:16}{statistics.median(rates[name]):8.0f} judgements/s ({spread}), {length:.0f} tokens a prompt")
    ratios = [a / b for a, b in zip(rates["principle last"], rates["principle first"], strict=True)]
    print(
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {arguments.repeats} repeats"
    )
    critic.close()


if __name__ == "__main__":
    main()
