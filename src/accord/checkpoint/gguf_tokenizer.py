"""The tokenizer that a GGUF file describes: a byte-level BPE, its control tokens, its template."""

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

from accord.errors import AccordError, did_you_mean
from accord.text import Tokenizer as AccordTokenizer
from accord.text.folder import SpecialTokens
from accord.text.patterns import PATTERNS
from accord.text.templates import name_of

_CONTROL, _USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type


def read_tokenizer(metadata: Mapping[str, Any], where: str) -> AccordTokenizer:
    """The tokenizer of a GGUF file's metadata.

    Raises:
        AccordError: Another kind than byte-level BPE, words cut in a way that is not known here, a
            key missing, or no end token.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise AccordError(
            f"The tokenizer is of kind {kind!r}; only byte-level BPE ('gpt2') is read from GGUF.",
            where,
            "Fetch the model's Hugging Face folder: its tokenizer.json is read whatever its kind.",
        )
    cut = str(metadata.get("tokenizer.ggml.pre"))
    if cut not in WORDS:
        raise AccordError(
            f"The tokenizer cuts words as '{cut}' does, which Accord does not know from GGUF; "
            f"{did_you_mean(cut, WORDS)}",
            where,
            "Fetch the model's Hugging Face folder: its tokenizer.json says how.",
        )
    try:
        tokens = metadata["tokenizer.ggml.tokens"]
        merges = [tuple(m.split(" ")) for m in metadata["tokenizer.ggml.merges"]]
        types = metadata["tokenizer.ggml.token_type"]
    except KeyError as error:
        raise AccordError(f"The file lacks {error}: it has no whole tokenizer.", where) from error
    try:
        # Llama 3 takes a word that is a token whole, whatever its merges would give
        bpe = models.BPE(_ids(tokens), merges, ignore_merges=cut in _WHOLE_WORDS)
    except Exception as error:  # the binding raises a bare Exception
        raise AccordError(
            f"The tokenizer's merges do not fit its tokens: {error}", where
        ) from error
    core = Tokenizer(bpe)
    core.pre_tokenizer, core.decoder = WORDS[cut](), decoders.ByteLevel()
    for token, sort in zip(tokens, types, strict=True):
        if sort in (_CONTROL, _USER_DEFINED):
            control = sort == _CONTROL
            core.add_tokens([AddedToken(token, special=control, normalized=False)])
    special = _special(metadata, tokens, where)
    if special.bos and metadata.get("tokenizer.ggml.add_bos_token", cut in _WHOLE_WORDS):
        # for transformers and servers; Accord places the bos token itself
        bos = special.bos, tokens.index(special.bos)
        core.post_processor = processors.TemplateProcessing(
            single=f"{special.bos} $A", pair=f"{special.bos} $A $B", special_tokens=[bos]
        )
    template = metadata.get("tokenizer.chat_template")
    return AccordTokenizer(core, special, template and name_of(template))


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


def _llama3() -> PreTokenizer:
    split = pre_tokenizers.Split(Regex(PATTERNS["gpt4"]), behavior="isolated")
    return pre_tokenizers.Sequence([split, _byte_level(use_regex=False)])


WORDS: Mapping[str, Callable[[], PreTokenizer]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _llama3,
}
"""How words are cut before merges, by `tokenizer.ggml.pre`."""
_WHOLE_WORDS = {"llama-bpe"}
