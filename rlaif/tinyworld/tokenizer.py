"""The tokenizer that all of the world's models share: byte-level BPE with role tokens and a chat template.

A message is its role token followed at once by its content, so the same text always gets the same tokens, whether it
was sampled, judged or read from a file. An assistant's turn ends with `<eos>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rlaif.records.prompt import Message
from rlaif.tinyworld import corpus
from rlaif.tinyworld.grammar import Split, pick_task
from rlaif.tinyworld.principles import Wording
from rlaif.tinyworld.revision import examples

LETTERS = ("A", "B")  # the critic's answers, one token each
VOCABULARY = 1024
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, BOS, EOS, *ROLES)
MAX_LENGTH = 4096
DOCUMENTS = 6000
CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def chat_text(messages: Sequence[Message], *, reply: bool) -> str:
    """What the chat template makes of `messages`, much faster; `reply` adds the generation prompt."""
    turns = (f"<|{m.role}|>{m.content}{EOS if m.role == 'assistant' else ''}" for m in messages)
    return BOS + "".join(turns) + ("<|assistant|>" if reply else "")


def _documents(seed: int) -> list[str]:
    """Texts of the kinds that the models read, with an empty fence: its random characters deserve no tokens."""
    rng = Random(f"tokenizer-{seed}")
    splits: tuple[Split, ...] = ("train", "train", "train", "unseen-templates", "unseen-words")
    wordings: tuple[Wording, ...] = ("train", "heldout", "unseen-phrases")
    texts = []
    for _ in range(DOCUMENTS):
        split = rng.choice(splits)
        pair = corpus.pair(rng, split)
        ask = corpus.questions(pair, 1, rng, rng.choice(wordings))[0]
        messages = corpus.judge_messages(pair.request, pair.a.text, pair.b.text, ask.prefer, ask.unless, "")
        texts += [m.content for m in messages]
        texts.append(examples(pick_task(rng, "train"), rng, "train", 1)[0].critique)
    return texts


def build(seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_documents(seed), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def token_ids(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> list[int]:
    """The ids of tokens of the vocabulary."""
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    assert isinstance(ids, list)
    return ids


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of texts that already carry their special tokens."""
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
