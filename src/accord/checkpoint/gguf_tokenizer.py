"""The tokenizer that a GGUF file describes: its tokens, its control tokens, its template."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
)
from tokenizers.pre_tokenizers import PreTokenizer

from accord.checkpoint.gguf_vocabulary import (
    CONTROL,
    NO_BOS,
    QWEN2_WORDS,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
)
from accord.errors import AccordError, did_you_mean
from accord.text import Tokenizer as AccordTokenizer
from accord.text.folder import SpecialTokens
from accord.text.patterns import PATTERNS
from accord.text.sentencepiece import Piece, SentencePiece, converted
from accord.text.templates import name_of


def read_tokenizer(metadata: Mapping[str, Any], where: str) -> AccordTokenizer:
    """The tokenizer of a GGUF file's metadata.

    Raises:
        AccordError: Neither byte-level BPE nor SentencePiece's, words cut in a way that is not
            known here, a key missing, or no end token.
    """
    kind = metadata.get("tokenizer.ggml.model")
    cores = {"gpt2": _byte_level_bpe, "llama": _sentencepiece_bpe}
    if kind not in cores:
        raise AccordError(
            f"The tokenizer is of kind {kind!r}; only byte-level BPE ('gpt2') and SentencePiece's "
            "BPE ('llama') are read from GGUF.",
            where,
            "Fetch the model's Hugging Face folder: its tokenizer.json is read whatever its kind.",
        )
    try:
        tokens, types = (metadata[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type"))
        core = cores[kind](metadata, _named(tokens, types), where)
    except KeyError as error:
        raise AccordError(f"The file lacks {error}: it has no whole tokenizer.", where) from error
    special = _special(metadata, tokens, where)
    starts = metadata.get("tokenizer.ggml.pre") in _WHOLE_WORDS or kind == "llama"
    if special.bos and metadata.get("tokenizer.ggml.add_bos_token", starts):
        # for transformers and servers; Accord places the bos token itself
        bos = special.bos, tokens.index(special.bos)
        core.post_processor = processors.TemplateProcessing(
            single=f"{special.bos} $A", pair=f"{special.bos} $A $B", special_tokens=[bos]
        )
    template = metadata.get("tokenizer.chat_template")
    return AccordTokenizer(core, special, template and name_of(template.removeprefix(NO_BOS)))


def _named(tokens: list[str], types: list[int]) -> list[tuple[str, int]]:
    """Tokens with their kinds, but for rows at the end that hold none."""
    end = len(tokens)
    while end and types[end - 1] == UNUSED:
        end -= 1
    return list(zip(tokens[:end], types[:end], strict=True))


def _sentencepiece_bpe(
    metadata: Mapping[str, Any], tokens: list[tuple[str, int]], where: str
) -> Tokenizer:
    """SentencePiece's BPE; llama.cpp neither squeezes blanks nor normalises."""
    scores = metadata["tokenizer.ggml.scores"]
    pieces = tuple(
        Piece(text, score, kind) for (text, kind), score in zip(tokens, scores, strict=False)
    )
    unknown = next((i for i, (_, kind) in enumerate(tokens) if kind == UNKNOWN), -1)
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    model = SentencePiece(pieces, 2, True, (unknown, -1, -1, -1), b"", prefix, False)
    if any(kind == USER_DEFINED for _, kind in tokens):
        raise AccordError(
            "The tokenizer has symbols of its user's, cut out of a text before all else.", where
        )
    return converted(model)


def _byte_level_bpe(
    metadata: Mapping[str, Any], named: list[tuple[str, int]], where: str
) -> Tokenizer:
    cut = str(metadata.get("tokenizer.ggml.pre"))
    if cut not in WORDS:
        raise AccordError(
            f"The tokenizer cuts words as '{cut}' does, which Accord does not know from GGUF; "
            f"{did_you_mean(cut, WORDS)}",
            where,
            "Fetch the model's Hugging Face folder: its tokenizer.json says how.",
        )
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokens = [token for token, _ in named]
    try:
        # Llama 3 takes a word that is a token whole, whatever its merges would give
        bpe = models.BPE(_ids(tokens), merges, ignore_merges=cut in _WHOLE_WORDS)
    except Exception as error:  # the binding raises a bare Exception
        raise AccordError(
            f"The tokenizer's merges do not fit its tokens: {error}", where
        ) from error
    core = Tokenizer(bpe)
    core.pre_tokenizer, core.decoder = WORDS[cut](), decoders.ByteLevel()
    for token, sort in named:
        if sort in (CONTROL, USER_DEFINED):
            control = sort == CONTROL
            core.add_tokens([AddedToken(token, special=control, normalized=False)])
    return core


def _ids(tokens: list[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}


def _special(metadata: Mapping[str, Any], tokens: list[str], where: str) -> SpecialTokens:
    """End, pad, bos and unknown token by their text."""

    def named(key: str) -> str | None:
        index = metadata.get(f"tokenizer.ggml.{key}_token_id")
        return tokens[index] if index is not None and index < len(tokens) else None

    end = named("eos")
    if end is None:
        raise AccordError("The tokenizer names no end token (tokenizer.ggml.eos_token_id).", where)
    unknown = named("unknown")
    return SpecialTokens(
        end, named("padding"), named("bos"), {"unk_token": unknown} if unknown else {}
    )


def _byte_level(use_regex: bool) -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _gpt2() -> PreTokenizer:
    return _byte_level(use_regex=True)


def _smollm() -> PreTokenizer:
    """GPT-2's words, every digit on its own."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _byte_level(use_regex=True)]
    )


def _split(pattern: str) -> Callable[[], PreTokenizer]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return lambda: pre_tokenizers.Sequence([split, _byte_level(use_regex=False)])


WORDS: Mapping[str, Callable[[], PreTokenizer]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _split(PATTERNS["gpt4"]),
    "dbrx": _split(PATTERNS["gpt4"]),
    "qwen2": _split(QWEN2_WORDS),
}
"""How words are cut before merges, by `tokenizer.ggml.pre`."""
_WHOLE_WORDS = {"llama-bpe"}
