"""The work that all contenders share: one model shape, one set of weights, the same batches."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY, BATCH, TIME, PROMPT = 8000, 8, 256, 64
SHORTEST, LONGEST = 64, 128
END = 1
STUDY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 344,
    "max_position_embeddings": TIME,
}
"""The 1.5 M study model: Llama style, tied."""


SMOLLM2: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "rope_theta": 100_000.0,
}
"""SmolLM2-135M: Llama style, tied, three heads to a key."""


@dataclass(frozen=True)
class PairSizes:
    """How large a DPO step is.

    Args:
        batch: Pairs a step.
        prompt: Tokens of a prompt.
        shortest: Tokens of a response at least, its end token counted.
        longest: At most.
        vocabulary: Ids that tokens are drawn from.
    """

    batch: int = BATCH
    prompt: int = PROMPT
    shortest: int = SHORTEST
    longest: int = LONGEST
    vocabulary: int = VOCABULARY


STUDY_PAIRS = PairSizes()


@dataclass(frozen=True)
class Pair:
    """Token ids; responses end with the end token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def write_model(folder: Path, shape: dict[str, Any]) -> str:
    """The weights every contender starts from, as a Hugging Face folder; returns its path."""
    from accord.checkpoint.folder import save_model
    from accord.config.model import PRESETS, ModelConfig
    from accord.model import Decoder

    shape = dict(shape)
    config = ModelConfig(**(PRESETS[shape.pop("preset", "llama")] | shape))
    save_model(Decoder.init(config, seed=0), folder)
    return str(folder)


def token_batches(
    batches: int, batch: int = BATCH, time: int = TIME, vocabulary: int = VOCABULARY
) -> list[list[list[int]]]:
    """Batches of `batch` sequences of `time` tokens, one after another of one long text."""
    rng = random.Random(0)
    return [
        [[rng.randrange(2, vocabulary) for _ in range(time)] for _ in range(batch)]
        for _ in range(batches)
    ]


def pair_batches(batches: int, sizes: PairSizes = STUDY_PAIRS) -> list[list[Pair]]:
    """Batches of pairs: random prompts of one length, random responses of many."""
    rng = random.Random(0)

    def ids(length: int) -> list[int]:
        return [rng.randrange(2, sizes.vocabulary) for _ in range(length)]

    def response() -> list[int]:
        return [*ids(rng.randint(sizes.shortest, sizes.longest) - 1), END]

    return [
        [Pair(ids(sizes.prompt), response(), response()) for _ in range(sizes.batch)]
        for _ in range(batches)
    ]
