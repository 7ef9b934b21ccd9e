"""Tiny models of both styles whose next-token distributions are far from flat."""

from collections.abc import Sequence

import torch

from accord.config.model import PRESETS, ModelConfig
from accord.model.decoder import Decoder

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class LetterTokenizer:
    """Letters a to z are 0 to 25; the end token is 26, the pad token 27."""

    end_id, pad_id = 26, 27

    def __len__(self) -> int:
        return 28

    def decode(self, ids: Sequence[int]) -> str:
        return "".join((*LETTERS, "<end>", "<pad>")[i] for i in ids)

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(letter) for letter in text]


def tiny(style: str, vocab_size: int = 32, **settings: object) -> Decoder:
    config = ModelConfig.model_validate(
        PRESETS[style]
        | {
            "vocab_size": vocab_size,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4 if style == "gpt2" else 2,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "initializer_range": 0.2,
        }
        | settings
    )
    model = Decoder.init(config, seed=1)
    with torch.no_grad():
        # tied to the embedding, so tokens would otherwise predict themselves
        model.norm.weight.mul_(torch.randn(32, generator=torch.Generator().manual_seed(2)))
    return model
