"""The networks of policy learning: the policy, its frozen reference and, where needed, value models.

A separate value model is the reward model's body and head (N+, arXiv 2403.17031), that of the cost the cost model's; a
shared one is a linear head on the policy's own last hidden states, whose loss the policy's body learns from too. Either
is read at every token: the value of position t is computed from the token before completion token t, so that it judges
the state in which that token was chosen. Policy, reference and training passes divide logits by the same temperature,
that of sampling. Where the policy is trained by an adapter, the reference is the policy with the adapter off.
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
from rlaif.engines.learner.adapter import attach, merged, switched_off
from rlaif.engines.learner.likelihood import completion_logits, completion_logprobs
from rlaif.engines.learner.network import load_causal, place, save_model
from rlaif.engines.learner.optimiser import Loss, Trained, take_step
from rlaif.engines.learner.packing import Packed, states, states_and_logits
from rlaif.engines.learner.rows import TokenRow, groups, parts, rows_of
from rlaif.engines.learner.value import ValueHead, ValueModel
from rlaif.formulas.logprobs import forward_kl, of_tokens
from rlaif.ports.learner import VALUES, Need, Optimisation
from rlaif.ports.processes import ALONE, Processes
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
            if it spells text in the policy's tokens; else, and where none is given, it starts from the policy's body.
        shared_values: heads on the policy's hidden states in the place of such models.
        optimisation: of policy and value model; `value_learning_rate` replaces its learning rate for the latter. With
            `lora`, each has an adapter of its own, and value heads are trained whole.
        temperature: that of sampling; positive.
        seed: of adapters, and of value heads where there is no model to take them from.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".

    Raises:
        InputError: a model cannot be loaded, or has no modules of the names that adapters are to go to.
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
        needs: Collection[Need] = VALUES,
        shared_values: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self._tokenizer = tokens.load_tokenizer(model)
        self._needs = needs
        self._placement = place(dtype)
        policy = self._placement.put(load_causal(model), gradient_checkpointing=optimisation.gradient_checkpointing)
        self._reference = policy
        if optimisation.lora is None:
            self._reference = copy.deepcopy(policy).eval().requires_grad_(False)
        else:
            attach(policy, optimisation.lora, seed)
        self.notes: list[str] = []
        self._networks = {"policy": Trained(policy, optimisation, processes)}
        self._shared_values = shared_values
        self._valued = [name for name in ("values", "cost_values") if name in needs]
        for number, name in enumerate(self._valued):
            value: torch.nn.Module
            if shared_values:
                value = ValueHead(policy.get_output_embeddings().in_features, seed=seed + number)
            else:
                value = ValueModel(
                    self._origin(value_models.get(name, model), model),
                    seed=seed + number,
                    gradient_checkpointing=optimisation.gradient_checkpointing,
                    lora=optimisation.lora,
                )
            value.to(self._placement.device).train(optimisation.gradient_checkpointing)
            own = optimisation._replace(learning_rate=value_learning_rate)
            self._networks[name.removesuffix("s")] = Trained(value, own, processes)
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
        return self._collect(rollouts, lambda part: self._logprobs(self._policy.network, part))

    def reference_logprobs(self, rollouts: Rollouts) -> Tensor:
        """The same by the policy that training started from."""
        with switched_off(self._reference):
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
        rows = rows_of(batch)
        own = parts([len(row.ids) for row in rows], self._micro_batch, self._policy.processes)
        return take_step(networks, own, partial(self._loss, batch, rows, loss))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the policy by name, the output head too where it is tied to the embedding. An adapter is
        merged."""
        return merged(self._policy.model)

    def save(self, folder: Path) -> None:
        """Write the policy as an ordinary model folder (float32)."""
        if self._policy.processes.rank == 0:
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

    def _origin(self, value_model: str, model: str) -> str:
        """What a value model can start from: it reads the policy's token ids."""
        known = tokens.load_tokenizer(value_model).get_vocab()
        if all(known.get(token) == number for token, number in self._tokenizer.get_vocab().items()):
            return value_model
        self.notes.append(f"{value_model} has other tokens: its value model starts from the policy's body")
        return model

    def _value(self, name: str, part: Packed, hidden_1ND: Tensor | None = None) -> Tensor:
        if self._shared_values and hidden_1ND is None:
            hidden_1ND = states(self._policy.model.base_model, part)
        values_1N: Tensor = self._networks[name.removesuffix("s")].network(part if hidden_1ND is None else hidden_1ND)
        return values_1N

    def _logprobs(self, model: Any, part: Packed) -> Tensor:
        return completion_logprobs(model, part, temperature=self._temperature)

    @torch.no_grad()
    def _collect(self, rollouts: Rollouts, compute: Callable[[Packed], Tensor]) -> Tensor:
        result_BT = torch.zeros(rollouts.keep_BT.shape)
        for index, part in self._micro_batches(rollouts):
            with self._placement.autocast():
                values_1N = compute(part)
            keep_BT = rollouts.keep_BT[index]
            result_BT[index] = part.aligned(values_1N, keep_BT.to(values_1N.device)).cpu()
        return result_BT

    def _loss(self, batch: Rollouts, tokens: list[TokenRow], loss: Callable[..., Any], index: list[int]) -> Loss:
        part = Packed.of([tokens[i] for i in index], self._placement.device)
        with self._placement.autocast():
            computed = self._forward(part)
        rows = batch.select(torch.tensor(index)).to(self._placement.device)
        given = {f"{name}_BT": part.aligned(x_1N, rows.keep_BT) for name, x_1N in computed.items()}
        share: Loss = loss(rows, given.pop("logprobs_BT"), tokens=batch.tokens, **given)
        return share

    def _forward(self, part: Packed) -> dict[str, Tensor]:
        """What the loss is given, (1, N) each. The logits of these rows, (1, N, V), live no longer than their graph."""
        keep_1N, temperature = part.keep_1N, self._temperature
        wanted = self._shared_values and bool(self._valued)
        hidden_1ND, logits_1NV = states_and_logits(self._policy.network, part, wanted=wanted)
        computed = {"logprobs": of_tokens(logits_1NV, part.token_1N, keep_1N, temperature=temperature)}
        for name in self._valued:
            computed[name] = self._value(name, part, hidden_1ND)
        if "reference_kl" in self._needs:
            with torch.no_grad(), switched_off(self._reference):
                reference_1NV = completion_logits(self._reference, part)
            computed["reference_kl"] = forward_kl(reference_1NV, logits_1NV, keep_1N, temperature=temperature)
        return computed

    def _micro_batches(self, rollouts: Rollouts) -> Iterator[tuple[Tensor, Packed]]:
        rows = rows_of(rollouts)
        for index in groups([len(row.ids) for row in rows], self._micro_batch):
            yield torch.tensor(index), Packed.of([rows[i] for i in index], self._placement.device)
