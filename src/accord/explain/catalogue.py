"""All names by subject, and the page of the docs that holds every entry."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from accord.explain.keys import Key, recipe_keys, stage_models
from accord.explain.losses import label_losses, pair_losses, policy_losses
from accord.explain.names import Meaning, meanings, of_keys
from accord.explain.text import parts
from accord.report.glossary import KEYS, LABELLED, SUBJECTS
from accord.report.glossary.entry import LOG

OWNERS: Mapping[str, tuple[str, ...]] = {
    "training": (
        "TrainConfig", "PretrainStage", "SFTStage", "ModelConfig", "RopeScaling",
        "Recipe", "RecipeProfile",
    ),
    "preference": (
        "LossSettings", "PreferenceStage", "LoRAConfig", "RatedPairs", "SampledPairs",
        "JudgedPairs",
    ),
    "reward models": ("RewardStage", "RatedGroups"),
    "policies": (
        "PPOStage", "GRPOStage", "OnlineStage", "RolloutConfig", "SamplingConfig", "RewardTerm",
        "LengthOptions", "RegexOptions", "LanguageOptions", "ColumnOptions", "EntryOptions",
    ),
    "evaluation": ("EvaluateStage", "BestOf", "PromptsConfig"),
    "data": (
        "SourceConfig", "HeldoutConfig", "TokenizerStage", "TaskOptions", "OwnOptions",
        "AdditionOptions", "LettersOptions",
    ),
    "machine": (),
}  # fmt: skip
"""Subject to the models whose keys belong to it; single keys may stand elsewhere."""

HEAD = """\
# Metrics and settings in plain words

This page is what `accord explain --all` prints. `accord explain NAME` says the same of one name,
and what any other key, loss or kind of stage is. Bounds are those of the report's findings. Where
no range holds everywhere, the text says what to compare with. The losses have [a page](losses.md).

Metrics stand in `accord/metrics.jsonl` of their stage, unless the entry names another file. One of
held-out rows begins with `eval_`; one of a part of the rows ends with `/source:NAME` or
`/language:NAME`.
"""


def catalogue() -> dict[str, dict[str, list[str]]]:
    """Subject to sort to names; a key of several subjects stands with the first."""
    found: dict[str, dict[str, list[str]]] = {}
    listed: set[str] = set()
    for subject, (metrics, _) in SUBJECTS.items():
        names = [*metrics, *(_labelled() if subject == "policies" else ())]
        keys = {key.name for key in recipe_keys() if subject_of(key) == subject} - listed
        listed |= keys
        sorts = {"metrics": sorted(names), "recipe keys": sorted(keys)}
        found[subject] = {sort: names for sort, names in sorts.items() if names}
    found["losses"] = {
        "of pairs": list(pair_losses()),
        "of labelled answers": list(label_losses()),
        "of policies (loss_type)": list(policy_losses()),
    }
    found["stages"] = {"kinds": list(stage_models())}
    return found


def subject_of(key: Key) -> str:
    """The subject of a key: where its advice stands, else that of its model."""
    advised = f"{key.owner}.{key.name}"
    for subject, (_, keys) in SUBJECTS.items():
        if advised in keys:
            return subject
    return next(subject for subject, owners in OWNERS.items() if key.owner in owners)


def page() -> str:
    """The page of the docs: every metric, and every key that has advice."""
    return "\n".join([HEAD, *_body()])


def _body() -> Iterator[str]:
    for subject, (metrics, _) in SUBJECTS.items():
        yield f"## {subject.capitalize()}\n"
        names = [*metrics, *(_labelled() if subject == "policies" else ())]
        for name in names:
            yield from _entry(name, [m for m in meanings(name) if m.sort == "metric"])
        advised = [
            key
            for key in recipe_keys()
            if subject_of(key) == subject and f"{key.owner}.{key.name}" in KEYS
        ]
        if advised:
            yield f"### Settings of {subject}\n"
        for name in sorted({key.name for key in advised}):
            yield from _entry(name, of_keys(key for key in advised if key.name == name), "####")


def _entry(name: str, found: list[Meaning], level: str = "###") -> Iterator[str]:
    """A heading, then each meaning with its parts as a list."""
    yield f"{level} `{name}`\n"
    for meaning in found:
        stages = f" ({', '.join(meaning.stages)})" if meaning.stages else ""
        yield f"{_escaped(meaning.what)}{stages}\n"
        shown = replace(meaning, file="" if meaning.file == LOG else meaning.file)
        told = [f"- *{label}*: {_escaped(words)}" for label, words in parts(shown)]
        yield "\n".join([*told, ""])


def _escaped(words: str) -> str:
    """Formulas hold characters that Markdown would take for marks."""
    return words.replace("*", r"\*").replace("<", "&lt;")


def _labelled() -> tuple[str, ...]:
    return tuple(LABELLED)
