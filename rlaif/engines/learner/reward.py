"""Reward models: a language model's body with one linear output, read at the last token of the reply, its EOS.

The saved folder is an `AutoModelForSequenceClassification` with one label and head `score`. Two things to know of it:
- Scores are pooled by transformers itself, at the right-most token that is not the pad token. If pad and EOS were the
  same id, that would be the token before EOS; such a tokenizer gets another pad token, saved with the model.
- The scale of `normalise` is in the head's weights. Its shift cannot be, because the head has no bias: it stands in
  config.json as `reward_bias`. `HfRewardScorer` adds it; with transformers alone, add `model.config.reward_bias`. To
  compare replies, or to learn from their differences, it does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlaif.batches import require_finite
from rlaif.engines.learner.adapter import attach
from rlaif.engines.learner.network import (
    BIAS,
    Classifier,
    fresh_classifier,
    init_head,
    load_classifier,
    place,
    save_model,
)
from rlaif.engines.learner.optimiser import Loss, Trained, take_step
from rlaif.engines.learner.packing import Packed, states
from rlaif.engines.learner.rows import RowReader, TokenRow, groups, parts
from rlaif.engines.tokens import eos_id
from rlaif.ports.learner import Conversation, CostTarget, Optimisation, PairTarget
from rlaif.ports.processes import ALONE, Processes
from rlaif.records.errors import InputError

SPARE_PAD = "<|pad|>"


class HfRewardScorer:
    """A reward model that scores and is not trained.

    Args:
        model: folder or Hub name of a classifier with one output.
        micro_batch: rows in memory at once; changes nothing else.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".

    Raises:
        InputError: there is no such model, or it is a language model without a head.
    """

    def __init__(self, model: str, *, micro_batch: int = 16, dtype: str = "auto") -> None:
        classifier = load_classifier(model)
        if not classifier.has_head:
            problem = f"{model!r} is a language model, not a reward model: it has no head named `score`"
            raise InputError(problem, fix="train one with `rlaif reward`")
        self._set_up(model, classifier, micro_batch, dtype, gradient_checkpointing=False)

    def _set_up(
        self, reference: str, classifier: Classifier, micro_batch: int, dtype: str, *, gradient_checkpointing: bool
    ) -> None:
        self._reader = RowReader(reference)
        self._pad_id = separate_pad(self._reader.tokenizer, classifier.model)
        self._placement = place(dtype)
        self._model = self._placement.put(classifier.model, gradient_checkpointing=gradient_checkpointing)
        self._bias = classifier.bias
        self._micro_batch = micro_batch

    @property
    def truncated(self) -> int:
        """See `RewardLearner`."""
        return self._reader.truncated

    @torch.no_grad()
    def score(self, rows: Sequence[Conversation]) -> list[float]:
        """The score of each reply.

        Raises:
            RunHalted: a score is NaN or infinite.
        """
        sequences = [self._read(row) for row in rows]
        scores_B = torch.zeros(len(rows))
        for index in groups([len(ids) for ids in sequences], self._micro_batch):
            scores_B[index] = self._scores([sequences[row] for row in index]).cpu()
        require_finite("the reward model's score", scores_B)
        return scores_B.tolist()

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model."""
        return self._reader.tokenizer

    @torch.no_grad()
    def values(self, row: Conversation) -> tuple[TokenRow, Tensor]:
        """The row's tokens, and at each of them (S,) the score that is read there; the last one is the row's score.

        Raises:
            RunHalted: a value is NaN or infinite.
        """
        read = self._reader.read(row)
        with self._placement.autocast():
            ids_1S = torch.tensor([read.ids], device=self._placement.device)
            hidden_1SD = self._model.base_model(input_ids=ids_1S, use_cache=False).last_hidden_state
            values_S: Tensor = self._model.score(hidden_1SD)[0, :, 0].float().cpu() + self._bias
        require_finite("the reward model's score of a prefix", values_S)
        return read, values_S

    def _read(self, row: Conversation) -> list[int]:
        return self._reader.read(row).ids

    def _scores(self, sequences: Sequence[list[int]]) -> Tensor:
        """Scores (B,) of token sequences, read at their ends; nothing is padded."""
        with self._placement.autocast():
            hidden_1BD = states(self._model.base_model, Packed.ends(sequences, self._placement.device))
            scores_B: Tensor = self._model.score(hidden_1BD)[0, :, 0].float() + self._bias
        return scores_B

    def _forward(self, model: Any, sequences: Sequence[list[int]]) -> Tensor:
        """The same of sequences that end with EOS, as transformers pools them, by the network that is trained."""
        if any(ids[-1] == self._pad_id for ids in sequences):
            raise ValueError("a sequence ends with the pad token, so that its score would be read one token early")
        longest = max(map(len, sequences))
        ids_BS = torch.tensor([ids + [self._pad_id] * (longest - len(ids)) for ids in sequences])
        keep_BS = torch.arange(longest) < torch.tensor([[len(ids)] for ids in sequences])
        with self._placement.autocast():
            logits_B1 = model(
                input_ids=ids_BS.to(self._placement.device),
                attention_mask=keep_BS.long().to(self._placement.device),
                use_cache=False,
            ).logits
        scores_B: Tensor = logits_B1[:, 0].float() + self._bias
        return scores_B


class HfReward(HfRewardScorer):
    """A `RewardLearner` over transformers.

    Args:
        backbone: a language model, whose head is drawn from N(0, 1/sqrt(width + 1)), or a reward model to go on from.
        optimisation: with `lora`, an adapter on the body and the whole head are trained.
        seed: of the head and of the adapter, and of all weights where they start from scratch.
        from_scratch: take the backbone's architecture and tokenizer, and random weights.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".
    """

    def __init__(
        self,
        backbone: str,
        *,
        optimisation: Optimisation,
        seed: int,
        from_scratch: bool = False,
        dtype: str = "auto",
        processes: Processes = ALONE,
    ) -> None:
        classifier = fresh_classifier(backbone, seed) if from_scratch else load_classifier(backbone)
        if not classifier.has_head:
            init_head(classifier.model, seed)
        micro_batch = optimisation.micro_batch
        self._set_up(
            backbone, classifier, micro_batch, dtype, gradient_checkpointing=optimisation.gradient_checkpointing
        )
        if optimisation.lora is not None:
            attach(self._model, optimisation.lora, seed)
        self._network = Trained(self._model, optimisation, processes)

    def step(self, rows: Sequence[PairTarget] | Sequence[CostTarget], loss: Callable[..., Any]) -> dict[str, float]:
        """One optimiser step on `loss(first_B, second_B, ..., weight_total=...)`; see the port.

        Returns the loss's stats, grad_norm and learning_rate.

        Raises:
            RunHalted: a score, the loss or the gradient is not finite; the weights are unchanged.
        """
        pairs = [[self._read(Conversation(row.messages, reply)) for reply in (row.first, row.second)] for row in rows]
        weight_total = sum(row.share for row in rows)

        def loss_of(index: list[int]) -> Loss:
            scores_B = self._forward(self._network.network, [ids for row in index for ids in pairs[row]])
            numbers = torch.tensor([rows[row][3:] for row in index]).to(scores_B.device).T  # after messages and replies
            share: Loss = loss(scores_B[::2], scores_B[1::2], *numbers, weight_total=weight_total)
            return share

        lengths = [max(map(len, pair)) for pair in pairs]
        own = parts(lengths, max(1, self._micro_batch // 2), self._network.processes)  # two sequences a pair
        return take_step({"": self._network}, own, loss_of)

    @torch.no_grad()
    def normalise(self, mean: float, spread: float) -> None:
        """From here on scores are (present score - mean) / spread, also in the saved model; see the top of the file."""
        if not (math.isfinite(mean) and spread > 0 and math.isfinite(spread)):
            raise ValueError(f"cannot normalise with mean {mean} and spread {spread}")
        for parameter in self._model.score.parameters():
            parameter.div_(spread)
        self._bias = (self._bias - mean) / spread

    def save(self, folder: Path) -> None:
        """Write an ordinary model folder (float32)."""
        setattr(self._model.config, BIAS, self._bias)
        if self._network.processes.rank == 0:
            save_model(folder, self._model, self._reader.tokenizer)


def separate_pad(tokenizer: PreTrainedTokenizerBase, model: Any) -> int:
    """The id to pad with, which is never EOS; written into tokenizer and model.

    Where the tokenizer pads with EOS, another special token takes over; where it has none, one is added.
    """
    if tokenizer.pad_token_id == eos_id(tokenizer):
        spare = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
        tokenizer.add_special_tokens({"pad_token": spare[0] if spare else SPARE_PAD})
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    model.config.get_text_config().pad_token_id = pad_id
    return pad_id
