"""`accord generate --preset`: what is sampled with, and what goes before a preset."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from accord.cli.main import app
from accord.config.generate import SamplingConfig


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[SamplingConfig]:
    """The settings that reach the engine; no model is loaded."""
    seen: list[SamplingConfig] = []

    def complete(model: Any, tokenizer: Any, prompts: Any, sampling: Any, *rest: Any) -> list[Any]:
        seen.append(sampling)
        return [type("Done", (), {"text": "b"})() for _ in prompts]

    monkeypatch.setattr("accord.pipeline.generate.load", lambda model: (None, None))
    monkeypatch.setattr("accord.pipeline.generate.complete", complete)
    return seen


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["generate", "--model", str(Path("m")), "--prompt", "a", *words])


def test_presets_are_keurals_and_options_go_first(used: list[SamplingConfig]) -> None:
    assert run("--preset", "creative").exit_code == 0
    assert used[-1] == SamplingConfig(
        temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1.1, no_repeat_ngram_size=8
    )
    run("--preset", "creative", "--top-k", "0", "--temperature", "0.9")
    assert (used[-1].top_k, used[-1].temperature, used[-1].top_p) == (0, 0.9, 0.9)
    run("--preset", "factual")
    assert used[-1] == SamplingConfig(temperature=0)
    run()
    assert used[-1] == SamplingConfig()


def test_an_unknown_preset_is_refused(used: list[SamplingConfig]) -> None:
    assert run("--preset", "bold").exit_code != 0 and not used
