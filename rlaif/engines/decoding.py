"""Decoding with temperature, top-p, top-k and masks through transformers' own `generate`, with exact KL divergences.

transformers' processors do what they do in `generate`, in its order: masks, temperature, top-k, top-p. `generate` alone
draws from one random state for the whole batch; here the last processor draws for each row from its own seed and leaves
that token alone possible, so that a reply does not depend on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rlaif.batches import require_finite
from rlaif.engines import tokens
from rlaif.engines.hf_runtime import HfModel, _draw, _uniforms
from rlaif.formulas.logprobs import forward_kl
from rlaif.ports.chat import GenerateRequest
from rlaif.ports.decoding import Decoded
from rlaif.records.decoding import Setting
from rlaif.records.errors import InputError, RunHalted


class HfDecoder(HfModel):
    """A `Decoder` over transformers.

    Args:
        model: folder, Hub name or shipped model.
        dtype: "auto" (float32 on a CPU, bfloat16 on a GPU) or a dtype's name.
        batch_size: prompts in one forward pass.
    """

    def __init__(self, model: str, *, dtype: str = "auto", batch_size: int = 64) -> None:
        self.digest = tokens.model_digest(model)
        self._tokenizer = tokens.load_tokenizer(model)
        self._stop_ids = tokens.stop_ids(self._tokenizer, model)
        context = tokens.context_length(model)
        super().__init__(model, dtype=dtype, context=context, batch_size=batch_size, stop_ids=self._stop_ids)
        self.model.generation_config = self._generation(
            do_sample=False
        )  # penalties and the like of its own never apply

    def check(self, setting: Setting) -> None:
        """See `Decoder`."""
        for word in setting.mask:
            self._spellings(word)

    @torch.no_grad()
    def draw(self, requests: Sequence[GenerateRequest], setting: Setting, max_tokens: int) -> list[Decoded]:
        """See `Decoder`.

        Raises:
            InputError: prompt and reply have no room in the model's context.
            RunHalted: a logit is NaN or infinite, or the mask leaves no token.
        """
        prompts = [tokens.prompt_ids(self._tokenizer, request.messages) for request in requests]
        longest = max(map(len, prompts), default=0) + max_tokens
        if longest > self.context:
            fix = "leave long prompts out, or lower --max-tokens"
            raise InputError(f"prompt and reply take {longest} tokens, the model {self.context}", fix=fix)
        found: dict[int, Decoded] = {}
        banned = self._banned(setting)
        for rows in self._batches(prompts):
            batch = self._pad([prompts[row] for row in rows])
            drawing = Drawing(
                processors(setting, banned),
                torch.stack([_uniforms(requests[row].seed, max_tokens) for row in rows]).to(batch.ids_BT.device),
                self.stop_ids,
                greedy=setting.temperature == 0,
            )
            ids_BT = self.model.generate(
                batch.ids_BT,
                attention_mask=batch.keep_BT,
                max_new_tokens=max_tokens,
                logits_processor=LogitsProcessorList([drawing]),
            )[:, batch.ids_BT.shape[1] :]
            for row, ids, kl in zip(rows, ids_BT.tolist(), drawing.kl_B.tolist(), strict=True):
                found[row] = self._decoded(ids, kl)
        return [found[row] for row in range(len(requests))]

    def config(self, setting: Setting) -> str:
        """See `Decoder`. Everything that shapes replies is said, also where it is transformers' default today."""
        banned = self._banned(setting) or None
        if setting.temperature == 0:
            config = self._generation(do_sample=False, bad_words_ids=banned)
        else:
            kept = {"temperature": setting.temperature, "top_p": setting.top_p, "top_k": setting.top_k}
            config = self._generation(do_sample=True, bad_words_ids=banned, **kept)
        config.validate(strict=True)
        return str(config.to_json_string())

    def _generation(self, **settings: Any) -> GenerationConfig:
        """These settings, with the model's special ids."""
        stop = list(self._stop_ids)
        return GenerationConfig(  # type: ignore[no-untyped-call]
            bos_token_id=self._tokenizer.bos_token_id,
            eos_token_id=stop[0] if len(stop) == 1 else stop,
            pad_token_id=self._tokenizer.pad_token_id,
            **settings,
        )

    def _decoded(self, ids: list[int], kl: float) -> Decoded:
        end = next((at for at, token in enumerate(ids) if token in self._stop_ids), None)
        own = ids if end is None else ids[: end + 1]
        return Decoded(tokens.decode(self._tokenizer, own), len(own), end is not None, kl)

    def _banned(self, setting: Setting) -> list[list[int]]:
        spelled = {ids for word in setting.mask for ids in self._spellings(word)}
        return [list(ids) for ids in sorted(spelled)]

    def _spellings(self, word: str) -> set[tuple[int, ...]]:
        """Token ids that write the word by itself or after a space: single tokens, and what the tokenizer writes."""
        vocabulary = self._tokenizer.get_vocab()
        single = {(vocabulary[text],) for text in (word, f" {word}", f"Ġ{word}", f"▁{word}") if text in vocabulary}
        written = {tuple(ids) for ids in tokens.encode(self._tokenizer, [word, f" {word}"])}
        found = {ids for ids in single | written if tokens.decode(self._tokenizer, list(ids)).strip() == word}
        if not word or word != word.strip() or not found:
            fix = "give a word as replies have it, without spaces around it"
            raise InputError(f"the model cannot write {word!r}", fix=fix, field="--mask")
        return found


def processors(setting: Setting, banned: Sequence[Sequence[int]]) -> LogitsProcessorList:
    """transformers' processors for a setting, in the order of `generate`. `banned` are the token ids of its mask."""
    found: list[LogitsProcessor] = []
    if banned:
        found.append(NoBadWordsLogitsProcessor([list(ids) for ids in banned]))
    if setting.temperature not in (0, 1):
        found.append(TemperatureLogitsWarper(setting.temperature))
    if setting.top_k and setting.temperature:
        found.append(TopKLogitsWarper(setting.top_k))
    if setting.top_p < 1 and setting.temperature:
        found.append(TopPLogitsWarper(setting.top_p))
    return LogitsProcessorList(found)


class Drawing(LogitsProcessor):
    """The last processor of a batch: draws each row's next token and leaves no other possible.

    Args:
        before: the processors of the setting.
        uniforms_BT: numbers in [0, 1), one for each row and step.
        stop_ids: ids that end a row.
        greedy: take the most probable token.
    """

    def __init__(self, before: LogitsProcessorList, uniforms_BT: Tensor, stop_ids: Tensor, *, greedy: bool) -> None:
        self._before = before
        self._uniforms_BT = uniforms_BT
        self._stop_ids = stop_ids
        self._greedy = greedy
        self._step = 0
        B = len(uniforms_BT)
        self._running_B = torch.ones(B, dtype=torch.bool, device=uniforms_BT.device)
        self.kl_B = torch.zeros(B, dtype=torch.float64, device=uniforms_BT.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) of the next token after `input_ids` (B, T)."""
        if self._step > 0:
            self._running_B &= ~torch.isin(input_ids[:, -1], self._stop_ids)
        require_finite("the model's logit", scores)
        decoded_BV: Tensor = self._before(input_ids, scores)  # type: ignore[arg-type]
        if bool((decoded_BV == -torch.inf).all(-1).any()):
            raise RunHalted("the mask leaves no token to go on with; mask fewer words")
        if self._greedy:
            best_B1 = decoded_BV.argmax(-1, keepdim=True)
            decoded_BV = torch.full_like(decoded_BV, -torch.inf).scatter(1, best_B1, 0.0)
        own_B1V, decoded_B1V = scores.double()[:, None], decoded_BV.double()[:, None]
        self.kl_B += forward_kl(decoded_B1V, own_B1V, self._running_B[:, None])[:, 0]
        next_B, _ = _draw(decoded_BV.double(), self._uniforms_BT[:, self._step], 1.0)
        self._step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, next_B[:, None], 0.0)
