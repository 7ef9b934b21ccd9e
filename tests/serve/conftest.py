"""Two tiny policies in folders, and a real server of them in a thread."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from accord.checkpoint.folder import save_model
from accord.config.model import ModelConfig
from accord.model.decoder import Decoder
from accord.serve.run import listening
from accord.serve.served import Capacity, Served, open_served
from accord.text.tokenizer import Tokenizer

TEXTS = [
    "This is one of the best films of the year, naïve and brave.",
    "A film that is dull and slow — and often tired. 你好, 世界! 🙂",
    "The plot of this story is a wonderful joy to watch.",
]


@dataclass
class Server:
    """A server that runs."""

    url: str
    models: dict[str, Served]
    preferences: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def settle(self) -> None:
        """Wait until nothing is open or decoded."""
        for _ in range(500):
            if not any(m.worker.open or m.worker.decoding for m in self.models.values()):
                return
            time.sleep(0.01)
        raise AssertionError("completions are left")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, vocab_size=320, chat_template="chatml")


def policy(tokenizer: Tokenizer, seed: int) -> Decoder:
    config = ModelConfig(
        vocab_size=len(tokenizer) + 4,  # rows that only pad the embedding
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
    )
    model = Decoder.init(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        # an embedding that is the head too would have every token predict itself, and these two
        # tokens would end an answer too soon to be looked at
        model.norm.weight.mul_(torch.randn(32, generator=generator))
    return model


@pytest.fixture(scope="session")
def folders(tokenizer, tmp_path_factory) -> tuple[str, str]:
    base = tmp_path_factory.mktemp("policies")
    for name, seed in (("sft", 1), ("dpo", 2)):
        save_model(policy(tokenizer, seed), base / name, tokenizer)
    return str(base / "sft"), str(base / "dpo")


@contextmanager
def serving(
    folders: tuple[str, ...], preferences: Path, capacity: Capacity, key: str | None = None
) -> Iterator[Server]:
    import uvicorn

    from accord.serve.app import application

    models = open_served(folders, capacity)
    bound = listening("127.0.0.1", 0)
    app = application(models, str(preferences), key)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{bound.getsockname()[1]}", models, preferences)
    finally:
        server.should_exit = True
        thread.join()
        for model in models.values():
            model.worker.stop()
        bound.close()


@pytest.fixture(scope="session")
def server(folders, tmp_path_factory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("preferences") / "preferences.jsonl"
    with serving(folders, file, Capacity(slots=64, queue=16)) as running:
        yield running


@pytest.fixture(scope="session")
def small_server(folders, tmp_path_factory) -> Iterator[Server]:
    """One place, one that may wait."""
    file = tmp_path_factory.mktemp("preferences") / "preferences.jsonl"
    with serving(folders[:1], file, Capacity(slots=1, queue=1)) as running:
        yield running


Ask = Callable[..., dict]


@pytest.fixture
def ask(server) -> Ask:
    """Post to an address; gives the answer's JSON, which must come with this status."""
    import httpx

    def post(path: str, status: int = 200, **body: object) -> dict:
        answer = httpx.post(server.url + path, json={"model": "sft"} | body, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()

    return post
