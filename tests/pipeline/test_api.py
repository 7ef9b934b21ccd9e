"""The Python API is the same runner, and costs nothing to import."""

import subprocess
import sys

import pytest

import accord
from accord.pipeline import api, execute


def test_importing_accord_loads_nothing_else():
    code = (
        "import sys, accord\n"
        "heavy = {'torch', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert accord.__version__\n"
        "assert set(accord.__all__) <= set(dir(accord))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in accord.__all__:
        assert callable(getattr(accord, name))
    with pytest.raises(AttributeError, match="'nothing'"):
        accord.nothing  # noqa: B018


def test_single_stages_chain(home, setting, monkeypatch, calls):
    monkeypatch.setattr(execute, "MODULES", setting.modules)
    api.tokenizer("a.txt", home / "tok", vocab_size=300)
    api.pretrain(["a.txt"], home / "base", tokenizer=home / "tok", steps=2, seed=5)
    api.sft(home / "base", "b.jsonl", home / "sft", epochs=1)
    out = api.dpo("sft", "b.jsonl", home / "dpo", beta=0.3)
    assert out == home / "dpo"
    assert calls() == ["tokenizer", "pretrain", "sft", "preference"]
    assert '"seed": 5' in (home / "base/accord/stage.json").read_text()


def test_a_recipe_runs(home, setting, recipe, monkeypatch, calls):
    monkeypatch.setattr(execute, "MODULES", setting.modules)
    accord.run(recipe(), "out", stage="base")
    assert calls() == ["tokenizer", "base"]
    assert (home / "out/base/config.json").exists()
