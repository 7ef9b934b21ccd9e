"""tiktoken's ranks (`*.tiktoken`) and mistral-common's `tekken.json`, as the tokenizers library's.

Neither library is needed. A rank file holds no rule for cutting words: it is known by the file's
name, or given as `pat_str` in `tokenizer_config.json`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from accord.errors import AccordError
from accord.text.core import check_patterns, check_size, check_tokens
from accord.text.patterns import PATTERNS

TEKKEN, RANKS = "tekken.json", "*.tiktoken"
_CONTRACTIONS = r"'(?i:[sdmt]|ll|ve|re)"
_CL100K = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
)
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN: Mapping[str, str] = {
    "gpt2": PATTERNS["gpt2"],
    "r50k_base": PATTERNS["gpt2"],
    "p50k_base": PATTERNS["gpt2"],
    "cl100k_base": _CL100K,
    "qwen": _QWEN,
}
"""How words are cut, by the name of the file."""


@dataclass(frozen=True)
class Ranks:
    """Tokens in the order of their ids, and how text is cut before them.

    Args:
        tokens: Bytes of every token; its place is its rank.
        pattern: The regular expression that cuts words.
        control: Control tokens by id.
        before: How many ids come before rank 0.
    """

    tokens: Sequence[bytes]
    pattern: str
    control: Mapping[int, str]
    before: int = 0


def rank_file(folder: Path) -> Path | None:
    """The folder's `tekken.json`, or its only rank file."""
    if (folder / TEKKEN).is_file():
        return folder / TEKKEN
    found = sorted(folder.glob(RANKS))
    return found[0] if len(found) == 1 else None


def read(path: Path, config: Mapping[str, Any]) -> Ranks:
    """The content of a rank file.

    Args:
        path: The file.
        config: The folder's `tokenizer_config.json`.

    Raises:
        AccordError: It is no such file, ranks are missing, or nothing says how words are cut.
    """
    check_size(path)
    try:
        ranks = _tekken(path) if path.name == TEKKEN else _ranks(path, config)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AccordError(
            f"the file holds no tiktoken ranks: {error}", str(path), "fetch it again"
        ) from error
    check_tokens(ranks.tokens, str(path))
    check_patterns([ranks.pattern], str(path))
    return ranks


def converted(ranks: Ranks) -> tokenizers.Tokenizer:
    """The tokenizers library's object that gives tiktoken's ids."""
    alphabet = _alphabet()
    shown = ["".join(alphabet[byte] for byte in token) for token in ranks.tokens]
    vocabulary = {token: rank + ranks.before for rank, token in enumerate(shown)}
    merges = [
        (token[:cut], token[cut:])
        for token in shown
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    vocabulary |= {text: i for i, text in ranks.control.items()}
    # tiktoken takes a word that is a token whole before it looks at any pair
    core = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ranks.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    added = [
        AddedToken(t, special=True, normalized=False) for _, t in sorted(ranks.control.items())
    ]
    core.add_special_tokens(added)
    return core


def _ranks(path: Path, config: Mapping[str, Any]) -> Ranks:
    pattern = config.get("pat_str") or KNOWN.get(path.stem)
    if pattern is None:
        raise AccordError(
            f"nothing says how '{path.name}' cuts words; known by name: {', '.join(KNOWN)}",
            str(path),
            'add "pat_str", its regular expression, to tokenizer_config.json',
        )
    if not isinstance(pattern, str):
        raise ValueError("pat_str is no text")
    lines = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
    stored = {int(rank): base64.b64decode(token, validate=True) for token, rank in lines}
    tokens = _in_order(stored)
    added = config.get("added_tokens_decoder", {})
    control = {int(i): str(token["content"]) for i, token in added.items()}
    if clash := [i for i in control if i < len(tokens)]:
        raise ValueError(f"the control token {control[clash[0]]!r} has the id of a rank")
    return Ranks(tokens, pattern, control)


def _tekken(path: Path) -> Ranks:
    document = json.loads(path.read_text(encoding="utf-8"))
    config = document["config"]
    before = int(config["default_num_special_tokens"])
    kept = int(config["default_vocab_size"]) - before
    stored = {t["rank"]: base64.b64decode(t["token_bytes"]) for t in document["vocab"][:kept]}
    named = {int(t["rank"]): str(t["token_str"]) for t in document.get("special_tokens") or ()}
    control = {i: named.get(i, f"<SPECIAL_{i}>") for i in range(before)}
    return Ranks(_in_order(stored), config["pattern"], control, before)


def _in_order(stored: Mapping[int, bytes]) -> list[bytes]:
    tokens = [stored[rank] for rank in range(len(stored))]
    if lacking := 256 - len({token for token in tokens if len(token) == 1}):
        raise ValueError(f"{lacking} of the 256 bytes have no rank")
    return tokens


def _alphabet() -> dict[int, str]:
    """The character by which the tokenizers library writes each byte (GPT-2's table)."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {b: chr(b) for b in printed} | {b: chr(256 + n) for n, b in enumerate(others)}
