"""Puts the replies of two models side by side before the critic, and their likelihoods beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from rlaif.commands.evaluation.contestants import model_folder
from rlaif.critique import dialogue, figures
from rlaif.critique.compare import labelling_questions
from rlaif.critique.evaluated import verdict
from rlaif.ports.answers import Asking, blocks
from rlaif.ports.budget import Budget
from rlaif.ports.chat import ChatModel
from rlaif.ports.engines import Engines
from rlaif.ports.judging import Reading
from rlaif.ports.learner import Conversation
from rlaif.ports.panel import Seat
from rlaif.ports.panel import ask as ask_seat
from rlaif.ports.reporter import Reporter
from rlaif.records.audit import Figure
from rlaif.records.constitution import Constitution
from rlaif.records.evaluation import Contestant, ModelReply, Verdict
from rlaif.records.files import file_digest
from rlaif.records.judgement import Judgement
from rlaif.records.labelling import Labelling
from rlaif.records.pair import Pair
from rlaif.records.store import AnswerStore
from rlaif.stages.evaluate import log_ratios

TOKENIZER = "tokenizer.json"


class Judge(NamedTuple):
    """A critic, what it is asked, and where its answers are kept."""

    model: ChatModel
    reading: Reading
    config: Labelling
    constitution: Constitution
    store: AnswerStore
    reporter: Reporter
    budget: Budget | None

    def verdicts(self, set_name: str, models: tuple[str, str], pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict on every pair: the first response is the first model's.

        Raises:
            RunHalted: too many judgements failed.
        """
        what = f"{models[0]} against {models[1]}, {set_name}"
        asking = Asking(self.model, self.store, self.reporter, what=what, max_failure_rate=self.config.max_failure_rate)
        found: list[Verdict] = []
        reasons: list[str | None] = []
        asked = 0
        for block in blocks(pairs, self._pairs_at_once()):
            own = [
                []
                if pair.responses[0] == pair.responses[1]
                else list(labelling_questions(self.config, pair, self.constitution))
                for pair in block
            ]
            judged: list[list[Judgement]] = [[] for _ in block]
            ask_seat(Seat(asking, self.reading), own, judged, range(len(block)))
            about = (set_name, *models)
            found += [
                verdict(about, pair, self.constitution, j, self.config) for pair, j in zip(block, judged, strict=True)
            ]
            reasons += [j.reason for said in judged for j in said if j.status == "failed"]
            asked += sum(map(len, judged))
            asking.count_failures(len(reasons), asked, reasons[-1] if reasons else None)
            asking.progress(len(found), len(pairs), budget=self.budget)
        return found

    def _pairs_at_once(self) -> int:
        return max(1, self.model.block // (2 * len(self.constitution.principles)))


def sides(model: Sequence[ModelReply], other: Sequence[ModelReply], language: str) -> Iterator[Pair]:
    """A pair of each prompt that both replied to; of dialogues, all that follows the user's first words."""
    for a, b in zip(model, other, strict=True):
        if a.replies is not None and b.replies is not None:
            texts = [dialogue.whole(own.replies or [], own.turns, language) for own in (a, b)]
            yield Pair(id=a.prompt_id, messages=a.messages, responses=(texts[0], texts[1]))


def couples(names: Sequence[str], *, round_robin: bool) -> list[tuple[str, str]]:
    """Who meets whom: the model every baseline, and the baselines each other where wanted."""
    return [(a, b) for a, b in combinations(names, 2) if round_robin or a == names[0]]


def kl(
    engines: Engines, model: Contestant, other: Contestant, written: Sequence[ModelReply], temperature: float
) -> Figure:
    """KL of the model from another, in nats a reply, over the model's own replies (k1); or why there is none."""
    folders = model_folder(model), model_folder(other)
    if folders[0] is None or folders[1] is None:
        return figures.missing("needs two models in folders of this machine")
    if temperature == 0:
        return figures.missing("greedy replies are no samples of the model")
    if not _same_tokenizer(folders[0], folders[1]):
        return figures.missing("the two have different tokenizers")
    rows, ended = [], []
    for one in written:
        for turn, reply in enumerate(one.replies or ()):
            said = dialogue.so_far(one.messages, (one.replies or [])[:turn], one.turns)
            rows.append(Conversation(said, reply))
            ended.append((one.finished or [])[turn])
    if not rows:
        return figures.missing("there are no replies")
    engines.reporter.line(f"KL of {model.name} from {other.name}: {len(rows)} replies")
    ratios = log_ratios(engines, str(folders[0]), str(folders[1]), rows, ended, temperature)
    return figures.mean(ratios, "there are no replies")


def _same_tokenizer(a: Path, b: Path) -> bool:
    files = a / TOKENIZER, b / TOKENIZER
    return all(file.is_file() for file in files) and file_digest(files[0]) == file_digest(files[1])
