"""A byte-level BPE of the tokenizers library, before control tokens."""

from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from accord.text.strings import checked


def byte_level_bpe(pattern: str) -> tokenizers.Tokenizer:
    """An untrained one that cuts text by a regular expression."""
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def trained_bpe(texts: Iterable[str], vocab_size: int, pattern: str) -> tokenizers.Tokenizer:
    """One with the 256 bytes and as many merges as `vocab_size` and the texts have room for.

    Raises:
        AccordError: A text holds a lone surrogate, or there is no text.
    """
    core = byte_level_bpe(pattern)
    core.train_from_iterator(
        checked(texts),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return core
