from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from accord.config.load import load_recipe
from accord.pipeline.execute import MODULES, Setting

RECIPE = """\
name: toy
stages:
  sft: {kind: sft, from: base, steps: 3, data: [{source: b.jsonl}]}
  tokenizer: {kind: tokenizer, data: [{source: a.txt}]}
  base: {kind: pretrain, tokenizer: tokenizer, steps: 10, data: [{source: a.txt}]}
  dpo: {kind: preference, from: sft, steps: 5, data: [{source: b.jsonl}]}
"""

STUDIED = """\
name: toy
stages:
  tokenizer: {kind: tokenizer, data: [{source: a.txt}]}
  sft: {kind: pretrain, tokenizer: tokenizer, steps: 3, data: [{source: a.txt}]}
  dpo: {kind: preference, from: sft, steps: 5, data: [{source: b.jsonl}]}
  report: {kind: evaluate, reference: sft, policies: [sft, dpo], prompts: {texts: [hi]}}
"""
"""What the studies of these tests vary."""


@pytest.fixture
def study_recipe(home) -> str:
    """A recipe with an evaluate stage, as recipe.yaml in the working folder; its text."""
    (home / "recipe.yaml").write_text(STUDIED)
    return STUDIED


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A working folder with a recipe and its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delenv("TOY_FAILS", raising=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    return tmp_path


@pytest.fixture
def setting(home) -> Setting:
    console = Console(file=StringIO(), width=120)
    return Setting(1, home, console, modules=dict.fromkeys(MODULES, "toy"))


@pytest.fixture
def recipe(home):
    def read(*settings: str):
        return load_recipe(home / "recipe.yaml", settings)

    return read


@pytest.fixture
def calls(home):
    """Names of the stages that ran since the last question."""

    def take() -> list[str]:
        path = home / "calls.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names

    return take
