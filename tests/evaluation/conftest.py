"""Tiny models and a tokenizer of their own."""

import pytest
import torch

from accord.config.model import ModelConfig
from accord.evaluation.likelihood import Policy
from accord.model.decoder import Decoder
from accord.text.tokenizer import Tokenizer

TEXTS = [
    "This is one of the best films of the year.",
    "A film that is dull and slow and often tired.",
    "The plot of this story is a wonderful joy to watch.",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, vocab_size=290)


@pytest.fixture(scope="session")
def make_policy(tokenizer):
    def make(name: str, seed: int, spread: float = 0.3) -> Policy:
        config = ModelConfig(
            vocab_size=len(tokenizer) + 6,  # rows that only pad the embedding
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            max_position_embeddings=64,
        )
        model = Decoder.init(config, seed).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
        return Policy(name, model, tokenizer)

    return make
