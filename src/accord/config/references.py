"""The names by which stages start from one another, or from folders and the hub."""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from accord.config.data import pair_models
from accord.config.document import Document, Place
from accord.config.reward import RewardStage
from accord.config.rl import GRPOStage, OnlineStage, PPOStage
from accord.config.stages import (
    EvaluateStage,
    PreferenceStage,
    PretrainStage,
    StageConfig,
    TokenizerStage,
)
from accord.errors import AccordError, did_you_mean

HUB = "hub:"


def references(config: StageConfig) -> Iterator[tuple[Place, str]]:
    """Every input of a stage with the key it is named at, in the stage's own order."""
    for key, name in _named(config):
        if name is not None:
            yield key, name


def _named(config: StageConfig) -> Iterator[tuple[Place, str | None]]:
    match config:
        case TokenizerStage():
            return
        case EvaluateStage():
            yield ("reference",), config.reference
            yield from ((("policies", i), name) for i, name in enumerate(config.policies))
            yield from ((("rewards", k, "model"), t.model) for k, t in config.rewards.items())
            for name, best in config.best_of.items():
                for i, term in enumerate(best.reward):
                    yield ("best_of", name, "reward", i, "model"), term.model
            return
        case PretrainStage() | RewardStage():
            yield ("tokenizer",), config.tokenizer
    yield ("from",), config.from_
    if isinstance(config, PreferenceStage | RewardStage):
        yield from ((("pairs", *key), name) for key, name in pair_models(config.pairs))
    if isinstance(config, PPOStage | GRPOStage | OnlineStage):
        for key in ("reward", "judges"):
            yield from (((key, i, "model"), t.model) for i, t in enumerate(getattr(config, key)))
    if isinstance(config, PPOStage):
        yield ("critic_from",), config.critic_from


def find_mistakes(stages: Mapping[str, StageConfig], document: Document) -> list[AccordError]:
    """Inputs that are no stage, no folder and no hub name; inputs of the wrong kind; cycles."""
    mistakes = []
    for stage, config in stages.items():
        for key, name in references(config):
            where = document.where(("stages", stage, *key))
            if name in stages:
                mistake = _wrong_kind(key, name, stages[name], where)
            else:
                mistake = not_there(name, [other for other in stages if other != stage], where)
            if mistake:
                mistakes.append(mistake)
    return mistakes + _cycle(stages, document)


def _wrong_kind(key: Place, name: str, config: StageConfig, where: str) -> AccordError | None:
    if isinstance(config, EvaluateStage):
        what = f"stage '{name}' evaluates; nothing starts from it"
        return AccordError(what, where, "name a stage that makes a model")
    if isinstance(config, TokenizerStage) and key != ("tokenizer",):
        what = f"stage '{name}' makes a tokenizer, here a model is needed"
        return AccordError(what, where, "name a stage that makes a model")
    scores = key[-1] == "model" or key == ("critic_from",)
    if scores and key[-1] == "model" and not isinstance(config, RewardStage):
        what = f"stage '{name}' makes a language model, here a reward model is needed"
        return AccordError(what, where, "name a reward stage")
    if not scores and isinstance(config, RewardStage):
        what = f"stage '{name}' makes a reward model, here a language model is needed"
        return AccordError(what, where, "name a pretrain, sft, preference, ppo or grpo stage")
    return None


def not_there(name: str, stages: list[str], where: str) -> AccordError | None:
    """What is wrong with a name that is no stage: none if it is a folder or the hub's."""
    path = Path(name).expanduser()
    if name.startswith(HUB) or path.is_dir():
        return None
    if path.exists():
        return AccordError(
            f"'{name}' is a file, not a folder", where, "give the folder that holds the model"
        )
    if "/" in name or name.startswith((".", "~")):
        return AccordError(f"there is no folder '{name}'", where, folder_meant(name))
    what = f"'{name}' is neither a stage nor a folder"
    return AccordError(what, where, did_you_mean(name, [*stages, *folders_beside(Path(name))]))


def folder_meant(name: str) -> str:
    """How to mend the name of a folder that is not there."""
    path = Path(name).expanduser()
    beside = folders_beside(path)
    close = did_you_mean(path.name, beside) if beside else ""
    if close.startswith("did"):
        return close
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        return f"a model of the hub is written {HUB}{name}"
    if not path.parent.is_dir():
        return f"'{path.parent}' is not there either"
    return "give a folder that holds a config.json"


def folders_beside(path: Path) -> list[str]:
    """Names of the folders where a path would be."""
    try:
        return sorted(p.name for p in path.parent.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError:
        return []


def _cycle(stages: Mapping[str, StageConfig], document: Document) -> list[AccordError]:
    edges = {
        name: [other for _, other in references(config) if other in stages]
        for name, config in stages.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        ring = list(reversed(error.args[1]))
        return [
            AccordError(
                "stages start from one another: " + " <- ".join(reversed(ring)),
                document.where(("stages", ring[0])),
                "let one of them start from something else",
            )
        ]
    return []
