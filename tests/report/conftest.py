"""Invented runs: one with DPO alone, one with every kind of stage."""

import sys
from pathlib import Path

import pytest

from accord.evaluation.document import assemble

# invented is a module of the tests
sys.path.insert(0, str(Path(__file__).parent))

TITLE = "Controlled sentiment (invented numbers)"
RECIPE = {"name": "invented", "seed": 1, "stages": {"dpo": {"beta": 0.1}}}


@pytest.fixture(scope="session")
def stages(tmp_path_factory) -> dict[str, Path]:
    from invented import SHORT, invented_run

    return invented_run(tmp_path_factory.mktemp("run"), SHORT)


@pytest.fixture(scope="session")
def document(stages) -> dict:
    return assemble(stages, title=TITLE, recipe=RECIPE, command="accord run recipes/invented.yaml")


@pytest.fixture(scope="session")
def all_stages(tmp_path_factory) -> dict[str, Path]:
    from invented import invented_run

    return invented_run(tmp_path_factory.mktemp("all"))


@pytest.fixture(scope="session")
def whole(all_stages) -> dict:
    """The document of a run with a reward model, PPO, GRPO and online preference."""
    return assemble(all_stages, title=TITLE, recipe=RECIPE, command="accord run invented.yaml")
