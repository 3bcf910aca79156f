"""Text to token ids and back: the one place where prompts and replies are spelled.

Training, reward models, critics and rollouts all read `prompt_ids + completion_ids`, so what the policy is trained on
is what it is sampled from. Message content is data: only the chat template may write control tokens.

Left out: tool calls, images, chat templates other than the model's own, code shipped with a model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from rlaif.critique.templates import neutralise
from rlaif.ports.registry import model_path
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message

logger = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # rlaif has its own progress line

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
PAD_NAMES = ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>")
# Some templates read the clock or open a reasoning block by default; a prompt must depend on its messages alone, and
# the first token of the reply is where options are read.
TEMPLATE_ARGUMENTS: dict[str, Any] = {"date_string": "26 Jul 2024", "enable_thinking": False}
PLAIN_ROLES = {"system": "System", "user": "User", "assistant": "Assistant"}


def load_tokenizer(reference: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, Hub name or shipped model, with an EOS and a pad token.

    A missing pad token is replaced by a token that the vocabulary already has: a reserved one, else EOS. Sharing EOS
    is harmless here because attention masks are always explicit, never derived from the pad id.

    Raises:
        InputError: there is no tokenizer, it needs code from the model folder, or it has no EOS token.
    """
    path = model_path(reference)
    if Path(path).is_dir() and not any((Path(path) / name).is_file() for name in TOKENIZER_FILES):
        raise InputError("this model folder holds no tokenizer", file=path, fix="save the tokenizer beside the model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        fix = "check the name, and that the folder holds a tokenizer that needs no code of its own"
        raise InputError(f"cannot load the tokenizer of {reference!r}: {_first_line(error)}", fix=fix) from error
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no EOS token", file=path, fix="set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        vocabulary = tokenizer.get_vocab()
        spare = (name for name in PAD_NAMES if name in vocabulary and name != tokenizer.eos_token)
        tokenizer.pad_token = next(spare, tokenizer.eos_token)
        logger.warning("%s names no pad token: padding with %s", reference, tokenizer.pad_token)
    return tokenizer


@lru_cache(maxsize=16)
def control_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The text of every added or special token, the strings that content must not be able to write.

    Runs of white space and single characters that some vocabularies add as tokens control nothing and are not listed.
    """
    added = {token.content.strip() for token in tokenizer.added_tokens_decoder.values()}
    return frozenset(text for text in added | set(tokenizer.all_special_tokens) if len(text) > 1)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of the conversation up to where the assistant's reply begins.

    Where the chat template takes no system turn, its text is put before the first user turn. A tokenizer without a
    chat template gets plain lines, "User: ..." and at the end "Assistant:", after BOS if the tokenizer writes one.

    Raises:
        InputError: the chat template refuses the conversation, or the text cannot be tokenised as plain text.
    """
    text = prompt_text(tokenizer, messages)
    return checked(tokenizer, text, encode(tokenizer, [text])[0])


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """What `prompt_ids` tokenises. Many prompts go faster through this, `encode` and `checked`."""
    turns = [{"role": m.role, "content": neutralise(m.content, control_tokens(tokenizer))} for m in messages]
    if tokenizer.chat_template is None:
        lines = "".join(f"{PLAIN_ROLES[turn['role']]}: {turn['content']}\n" for turn in turns)
        return _sound(_plain_opening(tokenizer) + lines + "Assistant:")
    if not _takes_system(tokenizer):
        turns = _fold_system(turns)
    return _sound(_apply(tokenizer, turns))


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, in which the control tokens that it names count as such; `checked` must follow."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, truncation=False, return_attention_mask=False, verbose=False
    )["input_ids"]
    return ids


def checked(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> list[int]:
    """The ids, if every control token among them is written out in the text.

    This is the backstop for tokenizers that normalise: a look-alike that turns into a control token only inside the
    tokenizer passes `neutralise`.

    Raises:
        InputError: there are more control ids than the text names.
    """
    written = len(_control_pattern(tokenizer).findall(text))
    if sum(map(_control_ids(tokenizer).__contains__, ids)) > written:
        raise InputError("the text turns into control tokens", fix="look at this text: it looks like an attack")
    return ids


def completion_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a reply followed by EOS, to be appended to `prompt_ids`.

    Raises:
        InputError: the text cannot be tokenised as plain text.
    """
    text = _sound(neutralise(text, control_tokens(tokenizer)))
    return [*checked(tokenizer, text, encode(tokenizer, [text])[0]), eos_id(tokenizer)]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Text of the ids without special tokens; otherwise exactly what the ids spell."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


Spelling = tuple[int, ...]  # token ids, one after the other


def option_spellings(tokenizer: PreTrainedTokenizerBase, options: Sequence[str]) -> tuple[tuple[Spelling, ...], ...]:
    """For each option the ways to spell it: every single token that does, with or without a leading space, and else the
    tokens that the tokenizer itself would write.

    Raises:
        InputError: two options share a spelling.
    """
    vocabulary = tokenizer.get_vocab()
    spelled: list[tuple[Spelling, ...]] = []
    for option in options:
        found = {vocabulary[text] for text in (option, f" {option}", f"Ġ{option}", f"▁{option}") if text in vocabulary}
        written = {tuple(ids) for ids in encode(tokenizer, [option, f" {option}"])} | {(i,) for i in found}
        # A space that is a token of its own says nothing yet: a reply that begins so is not counted.
        begun = {ids for ids in written if decode(tokenizer, list(ids[:1])).strip()}
        exact = {ids for ids in begun if decode(tokenizer, list(ids)).strip() == option}
        spelled.append(tuple(sorted({ids for ids in exact if len(ids) == 1} or exact)))
        if not spelled[-1]:
            raise InputError(f"the model cannot write the option {option!r}", fix="use options such as A and B")
    if len({ids for spellings in spelled for ids in spellings}) < sum(map(len, spelled)):
        raise InputError(f"the options {', '.join(options)} share a spelling", fix="use options that differ")
    return tuple(spelled)


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends a reply in training."""
    token_id = tokenizer.eos_token_id
    assert isinstance(token_id, int)  # load_tokenizer made sure
    return token_id


def stop_ids(tokenizer: PreTrainedTokenizerBase, reference: str) -> tuple[int, ...]:
    """The ids that end a reply when sampling: EOS and what the model's generation_config.json adds to it.

    Nothing else of that file is read: its temperature, top-p and penalties never apply.
    """
    try:
        file = cached_file(model_path(reference), "generation_config.json")
        listed = json.loads(Path(str(file)).read_text(encoding="utf-8")).get("eos_token_id")
    except OSError:
        listed = None
    more = listed if isinstance(listed, list) else [] if listed is None else [listed]
    return tuple(sorted({eos_id(tokenizer), *more}))


def load_config(reference: str) -> Any:
    """The model's configuration (config.json).

    Raises:
        InputError: there is none, or it needs code from the model folder.
    """
    try:
        return AutoConfig.from_pretrained(model_path(reference), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        fix = "check the name, and that the model's architecture is one that transformers knows"
        raise InputError(f"cannot load the model {reference!r}: {_first_line(error)}", fix=fix) from error


def context_length(reference: str, limit: int | None = None) -> int:
    """Tokens that prompt and reply may have together: what the model was made for, or less where `limit` says so.

    Raises:
        InputError: `limit` is more than the model takes.
    """
    longest = getattr(load_config(reference).get_text_config(), "max_position_embeddings", None)
    if longest is None:
        if limit is None:
            raise InputError(f"{reference!r} does not say its context length", fix="set max_model_len")
        return limit
    if limit is not None and limit > longest:
        fix = f"set max_model_len to at most {longest}"
        raise InputError(f"{reference!r} takes {longest} tokens, max_model_len asks for {limit}", fix=fix)
    return int(longest) if limit is None else limit


def model_digest(reference: str) -> str:
    """Identity of what a model answers with: a hash of configuration, tokenizer, chat template and weights.

    For a Hub name, the name and the revision that it resolves to.
    """
    path = model_path(reference)
    if not Path(path).is_dir():
        return f"{reference}@{getattr(load_config(reference), '_commit_hash', None) or 'unknown'}"
    files = sorted(f for f in Path(path).iterdir() if f.suffix in {".json", ".jinja", ".model", ".safetensors", ".txt"})
    return _folder_digest(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=64)
def _folder_digest(files: tuple[tuple[str, int, int], ...]) -> str:
    # Size and time stand in the key only: a changed file is hashed anew, and the digest knows content alone.
    total = hashlib.sha256()
    for name, _, _ in files:
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{Path(name).name}\0{content}\n".encode())
    return total.hexdigest()


def _sound(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("the text holds half of a surrogate pair", fix="repair the file it comes from") from None
    return text


@lru_cache(maxsize=16)
def _control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    longest_first = sorted(control_tokens(tokenizer), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)))


@lru_cache(maxsize=16)
def _control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    control = control_tokens(tokenizer)
    return frozenset(i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip() in control)


def _apply(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **TEMPLATE_ARGUMENTS)
    except jinja2.TemplateError as error:
        fix = "make user and assistant turns alternate, and end with a user turn"
        raise InputError(f"the model's chat template refuses the conversation: {error}", fix=fix) from error
    assert isinstance(text, str)
    return text


@lru_cache(maxsize=16)
def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    # Some templates raise on a system turn, others drop it in silence: only its text in the result counts.
    probe = [{"role": "system", "content": "kept?"}, {"role": "user", "content": "x"}]
    try:
        return "kept?" in _apply(tokenizer, probe)
    except InputError:
        return False


def _fold_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    system = [turn["content"] for turn in turns if turn["role"] == "system"]
    rest = [turn for turn in turns if turn["role"] != "system"]
    if not system or not rest:
        return rest or turns
    return [{**rest[0], "content": "\n\n".join([*system, rest[0]["content"]])}, *rest[1:]]


@lru_cache(maxsize=16)
def _plain_opening(tokenizer: PreTrainedTokenizerBase) -> str:
    ids = tokenizer("x")["input_ids"]
    return str(tokenizer.bos_token) if tokenizer.bos_token and ids[:1] == [tokenizer.bos_token_id] else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
