"""A small tokenizer for the room, with ChatML's control tokens."""

from pathlib import Path

import pytest

from accord.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer(tiny_data: Path) -> Tokenizer:
    texts = (tiny_data / "stories.jsonl").read_text().splitlines()
    return Tokenizer.train(texts, vocab_size=300, chat_template="chatml")
