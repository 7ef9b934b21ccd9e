"""From a name to everything it means: a metric, a key, a loss, a kind of stage."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from accord.config.mistakes import OTHER_WORDS
from accord.errors import AccordError
from accord.explain.keys import RECIPE, Key, recipe_keys, stage_models, written
from accord.explain.losses import kinds_of_loss, loss_names
from accord.pipeline.single import DEFAULTS
from accord.report.glossary import KEYS, LABELLED, METRICS, find
from accord.report.glossary.entry import Entry

COMMANDS: Mapping[str, str] = {"preference": "dpo"}
"""Kinds of stage whose command has another name."""


@dataclass(frozen=True)
class Meaning:
    """One thing that a name means.

    Args:
        name: The name, without group and `eval_`.
        sort: `metric`, `recipe key`, `loss` or `kind of stage`.
        what: What it is.
        stages: Kinds of stage that have it.
        formula: How it is computed.
        file: Where it is written.
        rows: Which rows the name that was asked for is about; empty: all.
        places: Of a key: where in a stage it stands.
        default: Of a key, with what single commands set instead.
        takes: Of a key: the values allowed.
        healthy: Which values are well, and in which setting.
        bad: What other values mean.
        try_: What to do then.
        source: Paper.
    """

    name: str
    sort: str
    what: str
    stages: tuple[str, ...] = ()
    formula: str = ""
    file: str = ""
    rows: str = ""
    places: tuple[str, ...] = ()
    default: str = ""
    takes: str = ""
    healthy: str = ""
    bad: str = ""
    try_: str = ""
    source: str = ""


def meanings(asked: str) -> list[Meaning]:
    """Everything that a name means; `dpo.beta` only what it means there.

    Raises:
        AccordError: Nothing has this name.
    """
    stage, name = _scope(asked)
    found = [m for m in (*_metrics(asked), *_stages(asked)) if not stage]
    for meaning in (*_metrics(name), *_keys(name, stage), *_losses(name)):
        if (not stage or stage in meaning.stages) and meaning not in found:
            found.append(meaning)
    # a value such as wsd is explained by the keys that take it
    found = found or _by_choice(name, stage)
    if not found:
        raise AccordError(f"nothing is called '{asked}'", fix=_nearest(asked, stage, name))
    return found


def known_names() -> list[str]:
    """Every name there is, as it would be asked for."""
    return sorted(
        {*METRICS, *LABELLED, *(key.name for key in recipe_keys()), *loss_names(), *stage_models()}
    )


def _scope(asked: str) -> tuple[str, str]:
    """The kind of stage before the first dot, if there is one, and the rest."""
    words = asked.removeprefix("stages.")
    head, dot, rest = words.partition(".")
    kind = head if head in (*stage_models(), RECIPE) else OTHER_WORDS.get(head, "")
    return (kind, rest) if dot and kind else ("", words)


def _metrics(name: str) -> Iterator[Meaning]:
    found = find(name)
    if found is None:
        return
    for entry in found.entry.meanings:
        yield Meaning(
            found.name,
            "metric",
            entry.what,
            entry.stages,
            entry.formula,
            entry.file,
            found.rows,
            healthy=entry.healthy,
            bad=entry.bad,
            try_=entry.try_,
        )


def _keys(name: str, stage: str) -> list[Meaning]:
    """Keys of that name or ending of a path."""
    return of_keys(
        key
        for key in recipe_keys()
        if (key.path == name or key.path.endswith(f".{name}")) and stage in ("", key.stage)
    )


def of_keys(keys: Iterable[Key]) -> list[Meaning]:
    """What keys mean; those that say the same are one meaning."""
    same: dict[Meaning, list[Key]] = defaultdict(list)
    for key in keys:
        same[_alone(key)].append(key)
    return [_joined(meaning, alike) for meaning, alike in same.items()]


def _alone(key: Key) -> Meaning:
    """A key without its places: equal for keys that say the same."""
    advice = KEYS.get(f"{key.owner}.{key.name}", Entry())
    return Meaning(
        key.name,
        "recipe key",
        key.doc,
        takes=key.takes,
        default=key.default or "must be given",
        healthy=advice.healthy,
        bad=advice.bad,
        try_=advice.try_,
    )


def _joined(meaning: Meaning, keys: Sequence[Key]) -> Meaning:
    """A key's meaning with every place it stands at, and what commands set there."""
    stages: dict[str, None] = dict.fromkeys(key.stage for key in keys)
    told: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        own = DEFAULTS.get(key.stage, {})
        if key.path in own:
            told[written(own[key.path])].append(f"accord {COMMANDS.get(key.stage, key.stage)}")
    told.pop(meaning.default, None)
    extra = "; ".join(f"{value} in {', '.join(commands)}" for value, commands in told.items())
    default = f"{meaning.default} ({extra})" if extra else meaning.default
    places = tuple(dict.fromkeys(key.path for key in keys))
    return replace(meaning, stages=tuple(stages), places=places, default=default)


def _losses(name: str) -> Iterator[Meaning]:
    for spec in kinds_of_loss(name):
        yield Meaning(
            name,
            "loss",
            spec.entry.what,
            spec.stages,
            spec.formula,
            places=(spec.key,),
            takes=spec.settings,
            healthy=spec.entry.healthy,
            bad=spec.entry.bad,
            try_=spec.entry.try_,
            source=spec.paper,
        )


def _stages(name: str) -> Iterator[Meaning]:
    kind = name if name in stage_models() else OTHER_WORDS.get(name, "")
    if kind:
        words = " ".join((stage_models()[kind].__doc__ or "").split())
        yield Meaning(kind, "kind of stage", words, (kind,), places=(f"kind: {kind}",))


def _by_choice(value: str, stage: str) -> list[Meaning]:
    """The keys that take a value."""
    return of_keys(k for k in recipe_keys() if value in k.choices and stage in ("", k.stage))


def _nearest(asked: str, stage: str, name: str) -> str:
    """A suggestion; the whole list would be hundreds of names."""
    if stage:
        known = {key.name for key in recipe_keys() if key.stage == stage}
        known |= {metric for metric, entry in METRICS.items() if stage in entry.stages}
    else:
        known = set(known_names())
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    scope = asked[: len(asked) - len(name)]
    return f"did you mean '{scope}{close[0]}'?" if close else "`accord explain` lists every name"
