"""A tokenizer as GGUF's metadata, where llama.cpp gives the same ids; refused where it does not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from accord.errors import AccordError
from accord.text.chat import stop_ids
from accord.text.patterns import PATTERNS
from accord.text.templates import jinja_of
from accord.text.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens, of `tokenizer.ggml.token_type`."""
NO_BOS = "{%- set bos_token = '' %}"
"""Put before a template where there is no bos: llama.cpp always has a token of that name."""
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_WORDS = _CONTRACTIONS + _WORDS + r"|\p{N}{1,3}" + _REST
QWEN2_WORDS = _CONTRACTIONS + _WORDS + r"|\p{N}" + _REST
_THREE_DIGITS = "dbrx"
_WHOLE = {"dbrx": "llama-bpe"}
"""The same words, where one that is a token is taken whole, whatever its merges would give."""
CUTS: Mapping[tuple[str, ...], str] = {
    ("gpt2 bytes",): "gpt-2",
    (PATTERNS["gpt2"], "bytes"): "gpt-2",
    ("digits", "gpt2 bytes"): "smollm",
    (PATTERNS["gpt4"], "bytes"): _THREE_DIGITS,
    (LLAMA3_WORDS, "bytes"): _THREE_DIGITS,
    (QWEN2_WORDS, "bytes"): "qwen2",
}
"""How a tokenizer.json cuts words, to the name by which llama.cpp cuts them so."""


def vocabulary(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """The keys `tokenizer.…` of a GGUF file, the chat template and what ends a turn among them.

    Args:
        tokenizer: The tokenizer.
        rows: Of the embedding; rows past the last token are named as unused.

    Raises:
        AccordError: llama.cpp would give other ids; the reason is named.
    """
    parts = json.loads(tokenizer.definition)
    kind = parts["model"]["type"]
    if kind == "BPE" and parts["model"].get("byte_fallback"):
        found = _sentencepiece(parts, tokenizer, rows)
    elif kind == "BPE":
        found = _byte_level(parts, tokenizer, rows)
    else:
        raise _refused(
            f"it is of kind {kind}; llama.cpp's unigram has no bytes for unknown characters, "
            "and other kinds it does not have"
        )
    return found | _special(tokenizer) | _template(tokenizer)


def caveats(tokenizer: Tokenizer) -> list[str]:
    """Sentences on texts that llama.cpp cuts otherwise all the same."""
    parts = json.loads(tokenizer.definition)
    normal, known = parts["normalizer"], parts["model"]["vocab"]
    found: list[str] = []
    if normal and normal["type"] == "NFC":
        found.append("llama.cpp does not bring text into Unicode's NFC: what is not gets other ids")
    # a byte that no token holds is left out by both, but here what stood beside it may then merge
    lacking = [byte for byte in ByteLevel.alphabet() if byte not in known]
    if lacking and not parts["model"].get("byte_fallback"):
        found.append(f"{len(lacking)} bytes are no token: texts that hold one may get other ids")
    return found


def _refused(reason: str) -> AccordError:
    return AccordError(
        f"llama.cpp would not give this tokenizer's ids: {reason}.",
        "gguf",
        "serve the folder with transformers or vLLM, or train the tokenizer with pattern gpt2 or "
        "gpt4",
    )


def _byte_level(parts: Mapping[str, Any], tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    model, normal = parts["model"], parts["normalizer"]
    if normal and normal["type"] != "NFC":
        raise _refused(f"it normalises text ({normal['type']})")
    odd = [k for k in ("continuing_subword_prefix", "end_of_word_suffix", "dropout") if model[k]]
    if odd:
        raise _refused(f"its merges have {', '.join(odd)}")
    cut = CUTS.get(_cut(parts["pre_tokenizer"]))
    if cut is None:
        raise _refused(
            "it cuts words by a rule that llama.cpp has no name for, "
            f"{_shown(parts['pre_tokenizer'])}; it has {', '.join(sorted(set(CUTS.values())))}"
        )
    if model.get("ignore_merges"):
        if cut not in _WHOLE:
            raise _refused(f"it takes words that are tokens whole, which '{cut}' does not")
        cut = _WHOLE[cut]
    tokens, types = _tokens(parts, rows)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": cut,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
    }


def _cut(words: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The steps of a pre-tokenizer in few words; `?` for one that is unknown here."""
    if words is None:
        return ()
    if words["type"] == "Sequence":
        return tuple(step for part in words["pretokenizers"] for step in _cut(part))
    if words["type"] == "ByteLevel" and not words["add_prefix_space"]:
        return ("gpt2 bytes" if words["use_regex"] else "bytes",)
    if words["type"] == "Digits" and words["individual_digits"]:
        return ("digits",)
    if words["type"] == "Split" and words["behavior"] == "Isolated" and not words["invert"]:
        return (words["pattern"].get("Regex", "?"),)
    return ("?",)


def _shown(words: Mapping[str, Any] | None) -> str:
    text = json.dumps(words, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + "…"


def _tokens(parts: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Every row's token and its kind; rows without one are unused."""
    tokens, types = [f"[PAD{i}]" for i in range(rows)], [UNUSED] * rows
    for token, i in parts["model"]["vocab"].items():
        tokens[i], types[i] = token, NORMAL
    for token in parts["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    return tokens, types


def _sentencepiece(parts: Mapping[str, Any], tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """SentencePiece's BPE: merges are scores there, the higher the earlier."""
    steps = _normalising(parts["normalizer"])
    if parts["pre_tokenizer"] is not None or steps not in (["blank"], ["prefix", "blank"]):
        raise _refused("it prepares text otherwise than SentencePiece's BPE does in llama.cpp")
    model = parts["model"]
    tokens, types = _tokens(parts, rows)
    scores = [0.0] * rows
    ranks: dict[str, int] = {}
    for pair in model["merges"]:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        ranks.setdefault(left + right, len(ranks))
    for i, token in enumerate(tokens):
        if types[i] != NORMAL:
            continue
        if token == model["unk_token"]:
            types[i] = UNKNOWN
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[i] = BYTE
        # a token that nothing merges to is never merged to there either: its score is the last
        scores[i] = -float(ranks.get(token, len(ranks)))
    if types.count(BYTE) != 256:
        raise _refused(f"{256 - types.count(BYTE)} of the 256 bytes are no token")
    normal = (token for token, kind in zip(tokens, types, strict=True) if kind == NORMAL)
    unreached = [token for token in normal if len(token) > 1 and token not in ranks]
    if unreached:
        raise _refused(f"no merge leads to {len(unreached)} tokens such as {unreached[0]!r}")
    types = [
        UNKNOWN if kind == CONTROL and token == model["unk_token"] else kind
        for token, kind in zip(tokens, types, strict=True)
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.add_space_prefix": steps[0] == "prefix",
    }


def _normalising(normal: Mapping[str, Any] | None) -> list[str]:
    if normal is None:
        return []
    if normal["type"] == "Sequence":
        return sorted(
            (step for part in normal["normalizers"] for step in _normalising(part)), reverse=True
        )
    if normal["type"] == "Prepend" and normal["prepend"] == "▁":
        return ["prefix"]
    if normal["type"] == "Replace" and normal["pattern"] == {"String": " "}:
        return ["blank"] if normal["content"] == "▁" else ["?"]
    return ["?"]


def _special(tokenizer: Tokenizer) -> dict[str, Any]:
    """The ids that llama.cpp looks for, and whether a text begins or ends with one."""
    shown = tokenizer.with_added("a")
    own = tokenizer.encode("a")
    before, after = _around(shown, own)
    start = tokenizer.start_id  # without one llama.cpp takes id 11 or 1
    for ids, place, fits in ((before, "before", (start,)), (after, "after", (tokenizer.end_id,))):
        if ids and tuple(ids) != fits:
            raise _refused(f"it puts {ids} {place} a text")
    found: dict[str, Any] = {
        "tokenizer.ggml.bos_token_id": start,
        "tokenizer.ggml.eos_token_id": tokenizer.end_id,
        "tokenizer.ggml.add_bos_token": bool(before),
        "tokenizer.ggml.add_eos_token": bool(after),
    }
    if tokenizer.pad_id is not None:
        found["tokenizer.ggml.padding_token_id"] = tokenizer.pad_id
    turn_ends = sorted(stop_ids(tokenizer) - {tokenizer.end_id})
    if turn_ends:
        found["tokenizer.ggml.eot_token_id"] = turn_ends[0]
    return found


def _around(whole: Sequence[int], own: Sequence[int]) -> tuple[list[int], list[int]]:
    """What stands before and after `own` in `whole`."""
    for at in range(len(whole) - len(own) + 1):
        if list(whole[at : at + len(own)]) == list(own):
            return list(whole[:at]), list(whole[at + len(own) :])
    return list(whole), []


def _template(tokenizer: Tokenizer) -> dict[str, Any]:
    if tokenizer.chat_template is None:
        return {}
    text = jinja_of(tokenizer.chat_template)
    if tokenizer.bos_id is None and "bos_token" in text:
        text = NO_BOS + text
    return {"tokenizer.chat_template": text}
