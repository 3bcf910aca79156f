"""Rows of different length as one sequence, so that no padding is ever computed.

The matrices of a network see all rows one after the other; attention takes them apart again, each row to itself with
positions from 0, so that the numbers are those of the rows alone. transformers lets attention be replaced where it goes
through `AttentionInterface`. Networks that carry a state along the sequence (Mamba and hybrids), older ones with
attention of their own, and rows longer than a sliding window go through padded rectangles.

Of the last layer only the states that are read matter, and its feed-forward block works on each token by itself: it is
computed at those tokens alone. Prompts are often more than half of all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlaif.engines.learner.rows import TokenRow

ATTENTION = "rlaif_rows"
WINDOWS = ("sliding_window", "attention_chunk_size")
LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class Packed(NamedTuple):
    """Rows one after the other, S tokens in all, N of them in completions.

    ids_1S: token ids. position_1S: of each token in its row. lengths: of the rows. before_N: places of the tokens
    before the completions' tokens, whose states predict them; the only ones whose states are read.
    """

    ids_1S: Tensor
    position_1S: Tensor
    lengths: list[int]
    before_N: Tensor

    @classmethod
    def of(cls, rows: Sequence[TokenRow], device: torch.device) -> Packed:
        """Put rows on a device."""
        lengths = [len(row.prompt) + len(row.completion) for row in rows]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        ids = torch.tensor([[number for row in rows for number in row.ids]])
        positions = torch.cat([torch.arange(length) for length in lengths])
        before = [torch.arange(end - len(row.completion), end) - 1 for end, row in zip(ends, rows, strict=True)]
        return cls(ids.to(device), positions[None].to(device), lengths, torch.cat(before).to(device))

    @classmethod
    def ends(cls, sequences: Sequence[list[int]], device: torch.device) -> Packed:
        """Token sequences of which the last state is read, `before_N` (B,)."""
        rows = cls.of([TokenRow(ids[:-1], ids[-1:]) for ids in sequences], device)
        return rows._replace(before_N=rows.before_N + 1)

    @property
    def token_1N(self) -> Tensor:
        """Token ids of the completions."""
        return self.ids_1S[:, self.before_N + 1]

    @property
    def keep_1N(self) -> Tensor:
        """A mask that keeps all of them."""
        return torch.ones_like(self.token_1N, dtype=torch.bool)

    def aligned(self, values_1N: Tensor, keep_BT: Tensor) -> Tensor:
        """Per-token numbers in the layout of `rlaif.batches`, whose `keep_BT` has the same completions: (B, T), each
        row's completion at its beginning, 0 where not kept."""
        return values_1N.new_zeros(keep_BT.shape).masked_scatter(keep_BT, values_1N)


_packed: ContextVar[Packed | None] = ContextVar("packed", default=None)  # in a forward pass of these rows


def allow(model: Any) -> None:
    """Let a fresh transformers model take packed rows, if its architecture can. Rectangles it takes as before.

    Not every architecture says of itself that its layers mix tokens otherwise than by attention, or that they keep what
    they are called with from it, so that two short rows are tried: together and alone they must give the same.
    """
    layers = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    willing = model.config._attn_implementation == "sdpa" and model._supports_attention_backend
    if willing and not model._is_stateful and layers <= LAYERS:
        model.set_attn_implementation(ATTENTION)
        if not _kept_apart(model):
            model.set_attn_implementation("sdpa")
        elif (block := _last_block(model)) is not None:
            hooks = block.register_forward_pre_hook(_take_what_is_read), block.register_forward_hook(_put_back)
            if not _kept_apart(model):
                for hook in hooks:
                    hook.remove()


def _last_block(model: Any) -> torch.nn.Module | None:
    """The feed-forward block of the last layer, by the name that nearly all architectures give it."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    stacks = [m for m in model.base_model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count]
    return getattr(stacks[0][-1], "mlp", None) if len(stacks) == 1 else None


def _take_what_is_read(block: torch.nn.Module, given: tuple[Tensor]) -> tuple[Tensor] | None:
    rows = _packed.get()
    return None if rows is None else (given[0][:, rows.before_N],)


def _put_back(block: torch.nn.Module, given: tuple[Tensor], found_1ND: Tensor) -> Tensor:
    """The block's output with 0 where no state is read, in the layout of the sequence."""
    rows = _packed.get()
    if rows is None:
        return found_1ND
    whole_1SD = found_1ND.new_zeros(1, rows.ids_1S.shape[1], found_1ND.shape[2])
    return whole_1SD.index_copy(1, rows.before_N, found_1ND)


@contextmanager
def _passing(model: Any, rows: Packed) -> Iterator[dict[str, Any]]:
    """What a network is called with for packed rows. Where activations are checkpointed, the backward pass computes
    them again outside of this, and has to find the same."""
    again = torch.is_grad_enabled() and getattr(model, "module", model).is_gradient_checkpointing
    token = _packed.set(None if again else rows)
    try:
        yield {
            "input_ids": rows.ids_1S,
            "position_ids": rows.position_1S,
            "attention_mask": rows.ids_1S.new_zeros(1, 1, 1, 1),  # looks ready-made, so that none is built
            "row_lengths": rows.lengths,
            "use_cache": False,
        }
    finally:
        _packed.reset(token)


@torch.no_grad()
def _kept_apart(model: Any) -> bool:
    """Whether packed rows have the numbers that each has alone, as transformers computes it."""
    rows = [TokenRow([1, 2, 3], [4, 5]), TokenRow([3], [2, 1, 4])]
    body, device, training = model.base_model, next(model.parameters()).device, model.training
    model.eval()
    try:
        both_1ND = states(body, Packed.of(rows, device))
        each_1ND = torch.cat([_alone(body, Packed.of([row], device)) for row in rows], dim=1)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return False
    finally:
        model.train(training)
    return torch.allclose(both_1ND, each_1ND, atol=1e-3, rtol=1e-3)


def _alone(body: Any, row: Packed) -> Tensor:
    found_1ND: Tensor = body(input_ids=row.ids_1S, use_cache=False).last_hidden_state[:, row.before_N]
    return found_1ND


def states(body: Any, rows: Packed) -> Tensor:
    """The last hidden states (1, N, D) of a network without output head, those that predict the completions."""
    if _takes(body, rows):
        with _passing(body, rows) as given:
            hidden_1SD = body(**given).last_hidden_state
    else:
        ids_BS, keep_BS = _rectangle(rows)
        found = body(input_ids=ids_BS, attention_mask=keep_BS.long(), use_cache=False)
        hidden_1SD = found.last_hidden_state[keep_BS][None]
    found_1ND: Tensor = hidden_1SD[:, rows.before_N]
    return found_1ND


def states_and_logits(model: Any, rows: Packed, *, wanted: bool) -> tuple[Tensor | None, Tensor]:
    """The last hidden states (1, N, D), where they are wanted, and the logits (1, N, V) that predict the completions.

    Logits are computed where there are completions alone, by the model's own forward pass, so that what some
    architectures do to them (soft caps, scales) is not lost.
    """
    if _takes(model, rows):
        with _passing(model, rows) as given:
            found = model(**given, logits_to_keep=rows.before_N, output_hidden_states=wanted)
        return found.hidden_states[-1][:, rows.before_N] if wanted else None, found.logits
    ids_BS, keep_BS = _rectangle(rows)
    before_BS = torch.zeros_like(keep_BS)
    before_BS[keep_BS] = torch.zeros_like(rows.ids_1S[0], dtype=torch.bool).index_fill(0, rows.before_N, True)
    C = int(ids_BS.shape[1] - before_BS.any(0).nonzero()[0])  # the last columns, which hold all that predicts
    found = model(
        input_ids=ids_BS,
        attention_mask=keep_BS.long(),
        use_cache=False,
        logits_to_keep=C,
        output_hidden_states=wanted,
    )
    hidden_1ND = found.hidden_states[-1][before_BS][None] if wanted else None
    return hidden_1ND, found.logits[before_BS[:, -C:]][None]


def _takes(model: Any, rows: Packed) -> bool:
    config = getattr(model, "module", model).config.get_text_config()  # `module`: within what adds up gradients
    windows = [size for name in WINDOWS if (size := getattr(config, name, None) or 0) > 0]  # 0 and -1 stand for none
    return config._attn_implementation == ATTENTION and max(rows.lengths) <= min(windows, default=max(rows.lengths))


def _rectangle(rows: Packed) -> tuple[Tensor, Tensor]:
    """Token ids (B, S), padded on the right, where a causal network's real tokens never look, and where they are."""
    ids_BS = pad_sequence(list(torch.split(rows.ids_1S[0], rows.lengths)), batch_first=True)
    ends_B1 = torch.tensor(rows.lengths, device=ids_BS.device)[:, None]
    return ids_BS, torch.arange(ids_BS.shape[1], device=ids_BS.device) < ends_B1


def _by_rows(
    module: Any,
    query_1HSD: Tensor,
    key_1HSD: Tensor,
    value_1HSD: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: list[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each row to itself; without `row_lengths`, that of transformers."""
    if row_lengths is None:
        return sdpa_attention_forward(module, query_1HSD, key_1HSD, value_1HSD, attention_mask, **options)
    if attention_mask is not None and attention_mask.numel() > 1:
        raise ValueError("this architecture makes masks of its own, which packed rows would not heed")
    rows = zip(*(torch.split(x, row_lengths, dim=2) for x in (query_1HSD, key_1HSD, value_1HSD)), strict=True)
    outputs = [sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in rows]
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(ATTENTION, _by_rows)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
