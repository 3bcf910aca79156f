"""A tiny random Llama with tokenizer and chat template, an ordinary model folder that tests can make in a second."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "<bos>{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "user assistant system [00000000] conversation response A response B end Principle: Choose the response that",
    "Which response follows the principle better? Answer with A or B. Human: How do I bake bread? Assistant: Mix flour",
)


def tiny_tokenizer(vocab: int = 320) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `vocab` tokens; pad, BOS, role opening and EOS (`<|im_end|>`) are ids 0 to 3."""
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(_bpe(vocab)),
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[3],
        additional_special_tokens=[SPECIAL[2]],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_model(folder: Path, tied: bool = False, seed: int = 0, vocab: int = 320, context: int = 512) -> Path:
    """Write the model (about 0.1M parameters, fp32) and tokenizer to `folder`, and return it.

    The initial weights are wide, so that logits spread over several nats and a wrong weight shows.
    """
    tokenizer = tiny_tokenizer(vocab)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=3,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    torch.set_rng_state(state)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@lru_cache(maxsize=4)
def _bpe(vocab: int) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()
