"""One stage: reuse its folder, or run it there and record how."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from accord.config.references import HUB, folder_meant
from accord.config.stages import StageConfig
from accord.errors import AccordError
from accord.pipeline import machine
from accord.pipeline.artifacts import Artifact
from accord.pipeline.files import write_text
from accord.pipeline.fingerprint import (
    data_hashes,
    fingerprint,
    input_fingerprint,
    stage_seed,
)

T = TypeVar("T")

MODULES: Mapping[str, str] = {
    kind: f"accord.stages.{kind}"
    for kind in (
        "tokenizer",
        "pretrain",
        "sft",
        "reward",
        "preference",
        "ppo",
        "grpo",
        "online",
        "evaluate",
    )
}
"""Kind of stage to the module that runs it, loaded only when it has to."""
TRAINED = frozenset({"pretrain", "sft", "reward", "preference", "ppo", "grpo", "online"})
"""Kinds that run as several ranks."""


def first_console() -> Console:
    """The terminal; on ranks after the first, silence."""
    return Console(quiet=os.environ.get("RANK", "0") != "0")


def world() -> int:
    """How many ranks torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Setting:
    """What all stages of a run share.

    Args:
        seed: Of stages that set none themselves.
        base: Folder that relative paths of data are resolved against.
        console: Where progress is printed.
        ranks: Processes of a training stage.
        modules: Kind of stage to the module with its `run(config, context)`.
    """

    seed: int
    base: Path = field(default_factory=Path.cwd)
    console: Console = field(default_factory=first_console)
    ranks: int = 1
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)


@dataclass(frozen=True)
class Task:
    """One stage with all that it starts from.

    Args:
        name: In the recipe.
        config: Its settings.
        folder: Where it writes.
        stages: Finished stages that may be its inputs, by name.
    """

    name: str
    config: StageConfig
    folder: Path
    stages: Mapping[str, Path] = field(default_factory=dict)


def check_ranks_started_once(setting: Setting) -> None:
    """Raise AccordError if ranks are to be started where torchrun has started some."""
    if setting.ranks > 1 and world() > 1:
        raise AccordError("torchrun has started the ranks already", "--ranks", "leave it out")


def execute(task: Task, setting: Setting) -> bool:
    """Run a stage unless its result stands; true if it ran.

    Raises:
        AccordError: A file or an input is missing, or the folder is somebody else's.
    """
    check_ranks_started_once(setting)
    if setting.ranks > 1 and task.config.kind in TRAINED:
        # here too: starting ranks takes a while, and this needs none
        check_ranks = import_module("accord.train.splitting").check_ranks
        check_ranks(task.config.model_dump().get("batch_size", 0), setting.ranks)
    artifact = Artifact(task.folder)
    origins = on_first(lambda: _begin(artifact, task, setting))
    if origins is None:
        setting.console.print(f"[bold]{task.name}[/]  reused", highlight=False)
        return False
    inputs = on_first(lambda: {name: _whole(name, task) for name in task.config.inputs()})
    module, seed = setting.modules[task.config.kind], stage_seed(task.config, setting.seed)
    work = partial(run_stage, task, module, inputs, seed, setting.base)
    _on_ranks(work, task.config.kind, setting)
    on_first(lambda: _finish(artifact, _record(task, setting, origins), task.config.kind))
    seconds = artifact.finished["seconds"]
    setting.console.print(f"[bold]{task.name}[/]  {seconds:.1f} s", highlight=False)
    return True


def _finish(artifact: Artifact, record: Mapping[str, Any], kind: str) -> None:
    """From here on the result stands; a model gets its card, which is a user's to edit."""
    artifact.finish(record)
    if kind in TRAINED:
        card = import_module("accord.report.card").model_card(artifact.folder)
        write_text(artifact.folder / "README.md", card)


def _on_ranks(work: Callable[..., None], kind: str, setting: Setting) -> None:
    """A training stage on all ranks, started here or by torchrun; any other on the first alone."""
    if kind not in TRAINED:
        on_first(lambda: work(setting.console))
    elif setting.ranks > 1:
        import_module("accord.train.parallel").launch(work, setting.ranks)
    else:
        work(setting.console)


def run_stage(
    task: Task,
    module: str,
    inputs: Mapping[str, Path],
    seed: int,
    base: Path,
    console: Console | None = None,
) -> None:
    """Call a stage's own `run`; a function of picklable values, for ranks to be started with."""
    machine_threads()
    context = import_module("accord.stages.context").StageContext(
        name=task.name,
        folder=task.folder,
        inputs=dict(inputs),
        seed=seed,
        base=base,
        console=console or first_console(),
    )
    import_module(module).run(task.config, context)


def on_first(work: Callable[[], T]) -> T:
    """Do `work` once, on rank 0 under torchrun; every rank gets its result."""
    if world() == 1:
        return work()
    return import_module("accord.train.parallel").current_ranks().on_first(work)


def machine_threads() -> None:
    """Let torch use this rank's share of the usable cores, unless OMP_NUM_THREADS is set."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "OMP_NUM_THREADS" not in os.environ:
        import_module("torch").set_num_threads(max(1, machine.usable_cores() // world()))


def _begin(artifact: Artifact, task: Task, setting: Setting) -> dict[str, Any] | None:
    """Make the folder ready and give the hashes of what goes in; none if the result stands."""
    inputs = _input_marks(task)
    data = data_hashes(task.config, setting.base, task.name)
    mark = fingerprint(task.config, stage_seed(task.config, setting.seed), inputs, data)
    if artifact.stands(mark):
        return None
    for name in task.config.inputs():
        if name not in task.stages and Path(name).expanduser().resolve() == task.folder.resolve():
            what = f"'{name}' is both what the stage starts from and where it writes"
            raise AccordError(what, f"stages.{task.name}", "give another folder as --out")
    artifact.begin(mark)
    return {"inputs": inputs, "data": data}


def _input_marks(task: Task) -> dict[str, str]:
    """Fingerprint of each input."""
    marks = {}
    for name in task.config.inputs():
        if name in task.stages:
            marks[name] = Artifact(task.stages[name]).finished["fingerprint"]
        else:
            marks[name] = input_fingerprint(name)
    return marks


def _whole(name: str, task: Task) -> Path:
    """The local folder of an input, whose weights are as they were written."""
    folder = _folder(name, task)
    Artifact(folder).check_weights()
    return folder


def _folder(name: str, task: Task) -> Path:
    """The local folder of an input; a hub model is fetched into the hub's own cache."""
    if name in task.stages:
        return task.stages[name]
    return local_folder(name)


def local_folder(name: str) -> Path:
    """Folder of a model named by its path or as `hub:owner/name`, without pickles or code.

    Raises:
        AccordError: There is no such folder, or the hub cannot be reached or knows no such model.
    """
    if not name.startswith(HUB):
        folder = Path(name).expanduser()
        if not folder.exists():
            raise AccordError("There is no such model folder.", name, folder_meant(name))
        return folder
    return import_module("accord.checkpoint.hub").fetched(name.removeprefix(HUB))


def _record(task: Task, setting: Setting, origins: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **origins,
        "name": task.name,
        "kind": task.config.kind,
        "config": task.config.model_dump(mode="json", by_alias=True),
        "seed": stage_seed(task.config, setting.seed),
        "ranks": max(setting.ranks, world()),
        "versions": machine.versions(),
        "git_revision": machine.git_revision(setting.base),
        "environment": machine.environment(),
    }
