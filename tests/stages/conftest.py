"""A tokenizer and an untrained model as folders, and stages run in this process."""

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.console import Console

from accord.config.stages import StageConfig
from accord.pipeline.execute import MODULES
from accord.stages.context import StageContext
from accord.text.tokenizer import Tokenizer

# left is a module of the tests
sys.path.insert(0, str(Path(__file__).parent))
from left import make_model

Run = Callable[..., Path]


@pytest.fixture(scope="session")
def model_folder(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = (tiny_data / "stories.jsonl").read_text().splitlines()
    return make_model(tmp_path_factory.mktemp("models") / "start", texts)


@pytest.fixture(scope="session")
def tokenizer(model_folder: Path) -> Tokenizer:
    return Tokenizer.load(model_folder)


@pytest.fixture
def run(tmp_path: Path, tiny_data: Path) -> Run:
    """Runs a stage of the given settings in `tmp_path / out` and gives that folder."""

    def work(settings: Mapping[str, Any], out: str = "out", seed: int = 1) -> Path:
        config: Any = TypeAdapter(StageConfig).validate_json(json.dumps(settings))
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        inputs = {name: Path(name) for name in config.inputs()}
        context = StageContext(config.kind, folder, inputs, seed, tiny_data, Console(quiet=True))
        import_module(MODULES[config.kind]).run(config, context)
        return folder

    return work
