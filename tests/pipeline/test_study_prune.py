"""Pruning lists what no variant names, and deletes just that when it is agreed to."""

from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from accord.config.study import load_study
from accord.errors import AccordError
from accord.pipeline import study, study_prune, study_report
from accord.pipeline.execute import MODULES
from accord.pipeline.lock import locked


@pytest.fixture
def laid(home, study_recipe, monkeypatch):
    """A study that ran with two variants, of which its file has only the first left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(study_report, "report", lambda laid, console: None)
    whole = {"name": "lab", "recipe": "recipe.yaml", "seeds": [1]}
    modules = dict.fromkeys(MODULES, "study_toy")
    setting = study.StudySetting(1, None, home, Console(file=StringIO()), modules)

    def load(variants: dict):
        (home / "study.yaml").write_text(yaml.safe_dump({**whole, "variants": variants}))
        return load_study(home / "study.yaml")

    study.run(load({"plain": {}, "beta": {"dpo.beta": 0.3}}), None, setting)
    return study.plan(load({"plain": {}}), None, setting)


def folders(laid) -> set[str]:
    return {path.name for path in (laid.out / "stages").iterdir()}


def test_only_what_no_variant_names_is_listed_and_only_that_goes(laid):
    mine = laid.out / "stages" / "notes"
    mine.mkdir()
    (mine / "a.txt").write_text("mine")
    found = study_prune.stale(laid)
    assert sorted(key.rpartition("-")[0] for key in found) == ["dpo", "report"]
    assert all(size > 100 for size in found.values())
    assert folders(laid) == {*laid.nodes, *found, "notes"}
    assert study_prune.delete(laid) == found
    assert folders(laid) == {*laid.nodes, "notes"}
    assert laid.standing() == set(laid.nodes)
    logs = {path.stem for path in (laid.out / "logs").iterdir()}
    assert logs == set(laid.nodes)
    assert study_prune.delete(laid) == {}


def test_nothing_goes_while_the_study_or_a_stage_runs(laid):
    before = folders(laid)
    with locked(laid.out / ".lock"), pytest.raises(AccordError, match="another run"):
        study_prune.delete(laid)
    first = min(study_prune.stale(laid))
    lock = laid.folder(first) / "accord" / "lock"
    with locked(lock), pytest.raises(AccordError, match="another run"):
        study_prune.delete(laid)
    assert folders(laid) == before


def test_sizes_and_their_sum_are_told():
    found = {"dpo-1": 1_500_000, "sft-2": 999, "base-3": 2_000_000_000_000_000}
    lines = study_prune.text(found, "deleted").splitlines()
    assert lines[0] == "   1.5 MB  dpo-1"
    assert lines[1] == "    999 B  sft-2"
    assert lines[2] == "2000.0 TB  base-3"
    assert lines[3] == "2000.0 TB in 3 folders that no variant names: deleted"
