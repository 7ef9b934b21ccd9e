"""Real runs of a preference stage that go wrong, and what is said while they do."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.console import Console

from accord.checkpoint.folder import load_model, save_model
from accord.config.stages import StageConfig
from accord.model.decoder import Decoder
from accord.stages import preference
from accord.stages.context import StageContext
from accord.text.tokenizer import Tokenizer

COMMON: dict[str, Any] = {
    "kind": "preference",
    "data": [{"source": "preferences.jsonl", "name": "rows"}],
    "heldout": {"fraction": 0.2},
    "batch_size": 8,
    "max_length": 128,
}


@pytest.fixture
def spoken(tmp_path: Path, tiny_data: Path, model_folder: Path):
    """Runs a preference stage, and gives the lines that the diagnosis printed."""

    def work(**settings: Any) -> list[str]:
        said = io.StringIO()
        raw = {**COMMON, "from": str(model_folder), **settings}
        config: Any = TypeAdapter(StageConfig).validate_json(json.dumps(raw))
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        inputs = {name: Path(name) for name in config.inputs()}
        console = Console(file=said, width=400)
        preference.run(config, StageContext("dpo", folder, inputs, 1, tiny_data, console))
        return [line for line in said.getvalue().splitlines() if " (step " in line]

    return work


def test_a_quiet_run(spoken) -> None:
    assert spoken(steps=12, lr=1e-4) == []


def test_a_reference_of_another_model_is_said_at_the_first_step(
    spoken, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    config = load_model(model_folder).config
    save_model(Decoder.init(config, 77), other, Tokenizer.load(model_folder))
    monkeypatch.setattr(preference, "load_model", lambda folder, *rest: load_model(other, *rest))
    lines = [line for line in spoken(steps=3, lr=1e-5) if "wrong_reference" in line]
    assert len(lines) == 1
    assert lines[0].startswith("wrong_reference (step 1): dpo's reference is not the model")
    assert "loss" in lines[0] and "instead of 0.6931" in lines[0]


def test_an_absurd_learning_rate_is_said_once(spoken) -> None:
    lines = spoken(steps=40, lr=0.3, schedule="constant", max_grad_norm=None)
    names = [line.split(" ")[0] for line in lines]
    assert len(names) == len(set(names))
    assert {"margin_explosion", "chosen_fell", "loss_diverged"} & set(names), lines


def test_a_learning_rate_that_moves_nothing_is_said(spoken) -> None:
    [line] = spoken(steps=20, lr=1e-9)
    assert line.startswith("policy_did_not_move (step ")
    assert "raise lr" in line
