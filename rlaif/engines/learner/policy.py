"""The networks of policy learning: the policy, its frozen reference and, where needed, value models.

A separate value model is the reward model's body and head (N+, arXiv 2403.17031), that of the cost the cost model's; a
shared one is a linear head on the policy's own last hidden states, whose loss the policy's body learns from too. Either
is read at every token: the value of position t is computed from the token before completion token t, so that it judges
the state in which that token was chosen. Policy, reference and training passes divide logits by the same temperature,
that of sampling.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlaif.batches import Rollouts
from rlaif.engines import tokens
from rlaif.engines.learner.likelihood import completion_logits, completion_logprobs, states_and_logits
from rlaif.engines.learner.network import load_causal, place, save_model
from rlaif.engines.learner.optimiser import Loss, Trained, take_step
from rlaif.engines.learner.rows import Padded, groups, rows_of
from rlaif.engines.learner.value import ValueHead, ValueModel
from rlaif.formulas.logprobs import forward_kl, of_tokens
from rlaif.ports.learner import VALUES, Need, Optimisation
from rlaif.records.errors import InputError
from rlaif.records.files import atomic_path
from rlaif.records.prompt import Message

STATE = "learner.pt"


class HfPolicy:
    """A `PolicyLearner` over transformers.

    Args:
        model: folder, Hub name or shipped model that policy and reference start from.
        needs: what losses are given besides log-probabilities. Without `values`, no value model is loaded.
        value_models: by need, `values` and `cost_values`, the reward or cost model that the value model starts from,
            with the policy's tokenizer; one that is not given starts from the policy's body.
        shared_values: heads on the policy's hidden states in the place of such models.
        optimisation: of policy and value model; `value_learning_rate` replaces its learning rate for the latter.
        temperature: that of sampling; positive.
        seed: of value heads, where there is no model to take them from.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".
        gradient_checkpointing: less memory, a third more computing, the same numbers.

    Raises:
        InputError: a model cannot be loaded, or the reward model spells text in other tokens than the policy.
    """

    def __init__(
        self,
        model: str,
        *,
        value_models: Mapping[str, str],
        optimisation: Optimisation,
        value_learning_rate: float,
        temperature: float,
        seed: int,
        dtype: str = "auto",
        gradient_checkpointing: bool = False,
        needs: Collection[Need] = VALUES,
        shared_values: bool = False,
    ) -> None:
        self._tokenizer = tokens.load_tokenizer(model)
        self._needs = needs
        self._placement = place(dtype)
        policy = self._placement.put(load_causal(model), gradient_checkpointing=gradient_checkpointing)
        self._reference = copy.deepcopy(policy).eval().requires_grad_(False)
        self._networks = {"policy": Trained(policy, optimisation)}
        self._shared_values = shared_values
        self._valued = [name for name in ("values", "cost_values") if name in needs]
        for number, name in enumerate(self._valued):
            value: torch.nn.Module
            if shared_values:
                value = ValueHead(policy.get_output_embeddings().in_features, seed=seed + number)
            else:
                origin = value_models.get(name, model)
                self._require_same_tokens(model, origin)
                value = ValueModel(origin, seed=seed + number, gradient_checkpointing=gradient_checkpointing)
            value.to(self._placement.device).train(gradient_checkpointing)
            own = optimisation._replace(learning_rate=value_learning_rate)
            self._networks[name.removesuffix("s")] = Trained(value, own)
        self._temperature = temperature
        self._micro_batch = optimisation.micro_batch

    @property
    def _policy(self) -> Trained:
        return self._networks["policy"]

    @property
    def pad_id(self) -> int:
        """An id to pad with; masks are explicit, so any would do."""
        pad_id = self._tokenizer.pad_token_id
        assert isinstance(pad_id, int)
        return pad_id

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation up to where the reply begins."""
        return tokens.prompt_ids(self._tokenizer, messages)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a completion without control tokens."""
        return tokens.decode(self._tokenizer, token_ids)

    def logprobs(self, rollouts: Rollouts) -> Tensor:
        """log pi of the completions' tokens (B, T), without gradient, 0 where not kept."""
        return self._collect(rollouts, lambda part: self._logprobs(self._policy.model, part))

    def reference_logprobs(self, rollouts: Rollouts) -> Tensor:
        """The same by the policy that training started from."""
        return self._collect(rollouts, lambda part: self._logprobs(self._reference, part))

    def values(self, rollouts: Rollouts) -> dict[str, Tensor]:
        """Of each value model, `values_BT` or `cost_values_BT`: the value of the state before each token, without
        gradient, 0 where not kept."""
        return {f"{name}_BT": self._collect(rollouts, partial(self._value, name)) for name in self._valued}

    def step(self, batch: Rollouts, loss: Callable[..., Any]) -> dict[str, float]:
        """One optimiser step of every network on `loss(rows, logprobs_BT, tokens=..., **needed)`.

        Returns the loss's stats, and grad_norm and learning_rate, those of value models after `value_`, `cost_value_`.

        Raises:
            RunHalted: a log-probability, value, loss or gradient is not finite; all weights are unchanged.
        """
        networks = {"" if name == "policy" else f"{name}_": network for name, network in self._networks.items()}
        return take_step(networks, self._losses(batch, loss))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the policy by name, the output head too where it is tied to the embedding."""
        for name, tensor in self._policy.model.state_dict().items():
            yield name, tensor.detach()

    def save(self, folder: Path) -> None:
        """Write the policy as an ordinary model folder (float32)."""
        save_model(folder, self._policy.model, self._tokenizer)

    def save_state(self, folder: Path) -> None:
        """Write everything that the next step depends on to one file in `folder`, at once or not at all."""
        with atomic_path(folder / STATE) as temporary:
            torch.save({name: network.state() for name, network in self._networks.items()}, temporary)

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` wrote: further steps are those of an uninterrupted run, bit by bit on a CPU.

        Raises:
            InputError: there is no state, it is damaged, or it is of other models.
        """
        file = folder / STATE
        try:
            state = torch.load(file, map_location=self._placement.device, weights_only=True)
            for name, network in self._networks.items():
                network.restore(state[name])
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            problem = f"this training state cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
            raise InputError(problem, file=file, fix="delete its folder to train from the beginning") from error

    def _require_same_tokens(self, model: str, value_model: str) -> None:
        known = tokens.load_tokenizer(value_model).get_vocab()
        if any(known.get(token) != number for token, number in self._tokenizer.get_vocab().items()):
            problem = f"the reward model {value_model!r} has other tokens than the policy {model!r}"
            fix = "train a reward model on a backbone with the policy's tokenizer, or give no value model"
            raise InputError(problem, fix=fix)

    def _value(self, name: str, part: Padded, hidden_BCD: Tensor | None = None) -> Tensor:
        if self._shared_values and hidden_BCD is None:
            hidden_BCD, _ = states_and_logits(self._policy.model, part, states=True)
        values_BC: Tensor = self._networks[name.removesuffix("s")].model(part if hidden_BCD is None else hidden_BCD)
        return values_BC

    def _logprobs(self, model: Any, part: Padded) -> Tensor:
        return completion_logprobs(model, part, temperature=self._temperature)

    @torch.no_grad()
    def _collect(self, rollouts: Rollouts, compute: Callable[[Padded], Tensor]) -> Tensor:
        result_BT = torch.zeros(rollouts.keep_BT.shape)
        for index, part in self._micro_batches(rollouts):
            with self._placement.autocast():
                values_BC = compute(part)
            keep_BT = rollouts.keep_BT[index]
            result_BT[index] = part.aligned(values_BC, keep_BT.to(values_BC.device)).cpu()
        return result_BT

    def _losses(self, batch: Rollouts, loss: Callable[..., Any]) -> Iterator[Loss]:
        for index, part in self._micro_batches(batch):
            with self._placement.autocast():
                computed = self._forward(part)
            rows = batch.select(index).to(self._placement.device)
            given = {f"{name}_BT": part.aligned(x_BC, rows.keep_BT) for name, x_BC in computed.items()}
            yield loss(rows, given.pop("logprobs_BT"), tokens=batch.tokens, **given)

    def _forward(self, part: Padded) -> dict[str, Tensor]:
        """What the loss is given, (B, C) each. The logits of these rows, (B, C, V), live no longer than their graph."""
        keep_BC, temperature = part.completion_BC, self._temperature
        states = self._shared_values and bool(self._valued)
        hidden_BCD, logits_BCV = states_and_logits(self._policy.model, part, states=states)
        computed = {"logprobs": of_tokens(logits_BCV, part.token_BC, keep_BC, temperature=temperature)}
        for name in self._valued:
            computed[name] = self._value(name, part, hidden_BCD)
        if "reference_kl" in self._needs:
            with torch.no_grad():
                reference_BCV = completion_logits(self._reference, part)
            computed["reference_kl"] = forward_kl(reference_BCV, logits_BCV, keep_BC, temperature=temperature)
        return computed

    def _micro_batches(self, rollouts: Rollouts) -> Iterator[tuple[Tensor, Padded]]:
        rows = rows_of(rollouts)
        for index in groups([len(row.ids) for row in rows], self._micro_batch):
            yield torch.tensor(index), Padded.of([rows[i] for i in index], self._placement.device)
