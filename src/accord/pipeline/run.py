"""A recipe's stages in order, then its report."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from accord.config.recipe import Recipe
from accord.config.stages import StageConfig
from accord.pipeline import graph, publish
from accord.pipeline.execute import Setting, Task, check_ranks_started_once, execute, on_first
from accord.pipeline.lock import locked
from accord.pipeline.space import check_space, full_disk_told

RUNS = Path("runs")
"""Where runs go that are given no folder."""


def run(
    recipe: Recipe,
    out: Path | None = None,
    stage: str | None = None,
    setting: Setting | None = None,
    command: str = "",
) -> Path:
    """Run a recipe's stages, reusing those whose results stand; gives the run's folder.

    Args:
        recipe: As `config.load` reads it.
        out: Folder with one folder a stage; none: `runs/<recipe name>`.
        stage: Run only this one and what it needs.
        setting: Seed, console, ranks; none: the recipe's seed and the terminal.
        command: What the report says reproduces the run.

    Raises:
        AccordError: No such stage, another run in this folder, too little space on its disk, or
            whatever a stage raises.
    """
    out = RUNS / recipe.name if out is None else out
    setting = setting or Setting(recipe.seed)
    check_ranks_started_once(setting)
    names = graph.plan(recipe, stage)
    folders = {name: out / name for name in names}
    with _alone(out / ".lock"), full_disk_told(recipe.stages, folders, out):
        on_first(lambda: check_space(recipe.stages, folders, out))
        ran = [
            execute(Task(name, recipe.stages[name], folders[name], folders), setting)
            for name in names
        ]
        evaluations = [folders[name] for name in names if recipe.stages[name].kind == "evaluate"]
        if evaluations:
            source = publish.Source(folders, recipe.title or recipe.name, recipe, command)
            on_first(lambda: publish.publish(source, out, any(ran), setting.console))
            on_first(lambda: publish.update_cards(folders, evaluations))
    return out


def run_single(config: StageConfig, out: Path, setting: Setting, command: str = "") -> Path:
    """Run one stage whose artifact is the folder `out` itself.

    Raises:
        AccordError: Another run in this folder, too little space on its disk, or whatever the stage
            raises.
    """
    check_ranks_started_once(setting)
    name = config.kind
    stages, own = {name: config}, {name: out}
    with _alone(out / "accord" / "lock"), full_disk_told(stages, own, out):
        on_first(lambda: check_space(stages, own, out))
        ran = execute(Task(name, config, out), setting)
        if config.kind == "evaluate":
            recipe = Recipe(name=name, seed=setting.seed, stages={name: config})
            # The policies' own records, where they are stages, fill the report's other tables.
            folders = {Path(policy).name: Path(policy) for policy in config.inputs()}
            source = publish.Source({**folders, name: out}, name, recipe, command)
            on_first(lambda: publish.publish(source, out, ran, setting.console))
            on_first(lambda: publish.update_cards({}, [out]))
    return out


def _alone(lock: Path) -> AbstractContextManager[None]:
    """The lock of a folder; held by the first of several ranks for all of them."""
    return locked(lock) if os.environ.get("RANK", "0") == "0" else nullcontext()
