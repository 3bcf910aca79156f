"""transformers as a model runtime: the fallback where vLLM is not installed, and the reference that it is held to.

Left out: top-p, top-k, penalties and every other default of a model's generation_config.json; beam search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, DynamicCache

from rlaif.engines.kv_cache import roomy_cache
from rlaif.engines.token_model import pick_device, pick_dtype
from rlaif.engines.tokens import load_config
from rlaif.ports.chat import Sampling
from rlaif.ports.registry import model_path
from rlaif.ports.rollout import Rollout, RolloutRequest
from rlaif.records.errors import InputError

CROWD = 0.8  # share of a batch's rows that still run at which the others leave it, which copies the cache


class Batch(NamedTuple):
    """Left-padded prompts. Position ids count real tokens, so padding moves nothing."""

    ids_BT: torch.Tensor
    keep_BT: torch.Tensor
    positions_BT: torch.Tensor


class HfModel:
    """A causal language model that runs in batches of `batch_size` prompts of similar length.

    Args:
        reference: model folder, Hub name or shipped model.
        dtype: "auto" or a dtype's name.
        context: tokens that prompt and completion may have together.
        batch_size: prompts in one forward pass.
        stop_ids: ids that end a completion.
        untied: give the output head its own weights, for engines whose weights are replaced one by one.

    Raises:
        InputError: the folder holds no weights that transformers can load without code of its own.
    """

    def __init__(
        self,
        reference: str,
        *,
        dtype: str,
        context: int,
        batch_size: int,
        stop_ids: Sequence[int],
        untied: bool = False,
    ) -> None:
        self.context = context
        self.batch_size = batch_size
        self.device = pick_device()
        self.stop_ids = torch.tensor(sorted(stop_ids), device=self.device)
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                model_path(reference),
                config=load_config(reference),
                dtype=pick_dtype(dtype),
                trust_remote_code=False,
                use_safetensors=True,  # never a pickle
            )
        except (OSError, ValueError, SafetensorError) as error:  # the last: torn weights
            fix = "check that the folder holds safetensors weights"
            raise InputError(f"cannot load the model {reference!r}: {error}", fix=fix) from error
        if untied:
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
            model.config.tie_word_embeddings = False
        self.model = model.to(self.device).eval()

    @torch.inference_mode()
    def read(self, prompts: Sequence[list[int]], wanted: Sequence[list[int]]) -> list[list[float]]:
        """See `TokenModel`. Only the last position's logits are ever computed, (B, V)."""
        answers: list[list[float]] = [[] for _ in prompts]
        for rows in self._batches(prompts):
            batch = self._pad([prompts[row] for row in rows])
            logits_BV = self._forward(batch, None)
            logprobs_BV = logits_BV.float().log_softmax(-1)
            for row, logprobs_V in zip(rows, logprobs_BV, strict=True):
                answers[row] = logprobs_V[wanted[row]].tolist()
        return answers

    @torch.inference_mode()
    def sample(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        """See `TokenModel`. Every row draws from its own generator, so its sample does not depend on the batch."""
        answers: list[Rollout] = [Rollout([], [], False)] * len(requests)
        for rows in self._batches([request.prompt_ids for request in requests]):
            sampled = self._sample([requests[row] for row in rows], sampling)
            for row, rollout in zip(rows, sampled, strict=True):
                answers[row] = rollout
        return answers

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """See `TokenModel`."""
        self.model.load_state_dict(dict(weights), strict=True)

    def close(self) -> None:
        """Give the weights back."""
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _batches(self, prompts: Sequence[list[int]]) -> Iterator[list[int]]:
        # Similar lengths together: little padding. Row number breaks ties, so the grouping is a function of the call.
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _pad(self, prompts: list[list[int]]) -> Batch:
        longest = max(map(len, prompts))
        ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)  # id 0 under the mask: any id would do
        keep_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
            keep_BT[row, longest - len(prompt) :] = 1
        positions_BT = (keep_BT.cumsum(1) - 1).clamp(min=0)
        return Batch(ids_BT.to(self.device), keep_BT.to(self.device), positions_BT.to(self.device))

    def _forward(self, batch: Batch, cache: DynamicCache | None) -> torch.Tensor:
        """Logits of the last position (B, V); the cache takes in the batch's tokens."""
        output = self.model(
            input_ids=batch.ids_BT,
            attention_mask=batch.keep_BT,
            position_ids=batch.positions_BT,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=1,
        )
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def _sample(self, requests: list[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        room_B = torch.tensor([min(sampling.max_tokens, self.context - len(r.prompt_ids)) for r in requests])
        B, steps = len(requests), int(room_B.max())
        uniforms_BT = torch.stack([_uniforms(request.seed, steps) for request in requests]).to(self.device)
        room_B = room_B.to(self.device)
        batch = self._pad([request.prompt_ids for request in requests])
        cache = roomy_cache()
        ids_BT = torch.zeros(B, steps, dtype=torch.long, device=self.device)
        logprobs_BT = torch.zeros(B, steps, device=self.device)
        stopped_B = torch.zeros(B, dtype=torch.bool, device=self.device)
        lengths_B = torch.zeros(B, dtype=torch.long, device=self.device)
        rows_R = torch.arange(B, device=self.device)  # those in the batch
        for step in range(steps):
            logits_RV = self._forward(batch, cache)
            next_R, logprob_R = _draw(logits_RV.float(), uniforms_BT[rows_R, step], sampling.temperature)
            ids_BT[rows_R, step], logprobs_BT[rows_R, step] = next_R, logprob_R
            running_R = ~(stopped_B | (lengths_B >= room_B))[rows_R]
            lengths_B[rows_R] += running_R
            stopped_B[rows_R] |= running_R & torch.isin(next_R, self.stop_ids)
            going_R = ~(stopped_B | (lengths_B >= room_B))[rows_R]
            if not bool(going_R.any()):
                break
            batch = Batch(
                next_R[:, None],
                torch.cat([batch.keep_BT, torch.ones_like(batch.keep_BT[:, :1])], dim=1),
                batch.positions_BT[:, -1:] + 1,
            )
            # Until they are many, rows that are done go on with whatever they draw; `lengths_B` cuts it off.
            if int(going_R.sum()) <= CROWD * len(rows_R):
                places = going_R.nonzero()[:, 0]
                cache.batch_select_indices(places)
                batch, rows_R = Batch(*(tensor[places] for tensor in batch)), rows_R[places]
        ids, logprobs = ids_BT.tolist(), logprobs_BT.tolist()
        return [
            Rollout(ids[row][:length], logprobs[row][:length], finished)
            for row, (length, finished) in enumerate(zip(lengths_B.tolist(), stopped_B.tolist(), strict=True))
        ]


def _uniforms(seed: int, count: int) -> torch.Tensor:
    """`count` numbers in [0, 1) that depend on the seed alone."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed % 2**63), dtype=torch.float64)


def _draw(logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverse transform sampling, and its log-probability at that temperature, both (B,).

    Temperature 0 takes the most probable token and reports its log-probability at temperature 1, as vLLM does.
    """
    logprobs_BV = (logits_BV / temperature if temperature > 0 else logits_BV).log_softmax(-1)
    if temperature == 0:
        next_B = logprobs_BV.argmax(-1)
    else:
        cumulative_BV = logprobs_BV.double().exp().cumsum(-1)
        # Scaling by the total makes rounding harmless: the draw always falls on a token of positive probability.
        next_B = torch.searchsorted(cumulative_BV, uniform_B[:, None] * cumulative_BV[:, -1:], right=True)[:, 0]
        next_B = next_B.clamp(max=logits_BV.shape[1] - 1)
    return next_B, logprobs_BV.gather(1, next_B[:, None])[:, 0]
