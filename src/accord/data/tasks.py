"""Procedural problems with a verifiable answer, made from a seed. A new task is a row of `TASKS`.

A row has `prompt` and `completion` (so it can be trained on), `text` (both, for pretraining:
`fields: {text: text}`), and `answer` and, from reasoning-gym, `entry` (for rewards to judge by).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import comb
from random import Random
from typing import Any

from accord.config.tasks import (
    GYM,
    TASK,
    AdditionOptions,
    GymOptions,
    LettersOptions,
    SortOptions,
    parse_task,
)
from accord.data.rawfile import RawRow
from accord.errors import AccordError, did_you_mean


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and the answer that a typical mistake gives.

    Problems of one key are made once, so that none is held out whose twin is trained on.
    """

    question: str
    answer: str
    mistaken: str
    key: str


@dataclass(frozen=True)
class Task:
    """How a task draws a problem, and how many different ones there are."""

    draw: Callable[[Any, Random], Problem]
    problems: Callable[[Any], int]


def read_task(name: str, options: Mapping[str, Any]) -> Iterator[RawRow]:
    """Rows of the source `task:<name>`, placed at `task:<name>:<number>`.

    Raises:
        AccordError: The task has fewer different problems, or needs a library that isn't there.
    """
    task, rest, chosen = parse_task(name, options)
    rows = _gym_rows(rest, chosen) if task == GYM else _rows(task, chosen)
    for number, row in enumerate(rows, 1):
        yield RawRow(row, f"{TASK}{name}:{number}")


def addition(options: AdditionOptions, draw: Random) -> Problem:
    """`58+67=` is ` 125`, or ` 15` without carrying; terms in one order only."""
    terms = [draw.randint(options.low, options.largest) for _ in range(options.terms)]
    key = " ".join(map(str, sorted(terms)))
    question = "+".join(map(str, terms)) + "="
    return Problem(question, str(sum(terms)), str(_without_carry(terms)), key)


def sort(options: SortOptions, draw: Random) -> Problem:
    """`sort dacb:` is ` abcd`, or ` dcba` the wrong way round; letters are all different."""
    letters = draw.sample(options.alphabet, draw.choice(options.lengths))
    answer = "".join(sorted(letters, key=options.alphabet.index))
    return Problem(f"sort {''.join(letters)}:", answer, answer[::-1], answer)


def reverse(options: LettersOptions, draw: Random) -> Problem:
    """`reverse abcd:` is ` dcba`, or ` abcd` left as it is."""
    letters = "".join(draw.choices(options.alphabet, k=draw.choice(options.lengths)))
    return Problem(f"reverse {letters}:", letters[::-1], letters, letters)


TASKS: Mapping[str, Task] = {
    "addition": Task(addition, lambda o: comb(o.largest - o.low + o.terms, o.terms)),
    "sort": Task(sort, lambda o: sum(comb(len(o.alphabet), n) for n in o.lengths)),
    "reverse": Task(reverse, lambda o: sum(len(o.alphabet) ** n for n in o.lengths)),
}
"""Accord's own tasks; `config.tasks` has the options of each."""


def _rows(name: str, options: Any) -> Iterator[Mapping[str, Any]]:
    """Different problems in the order they are drawn."""
    task, draw = TASKS[name], Random(options.seed)
    if options.count > (most := task.problems(options)):
        raise AccordError(
            f"There are only {most} different problems, {options.count} are wanted.",
            f"{TASK}{name}",
            "lower count, or let the problems be larger",
        )
    seen: set[str] = set()
    while len(seen) < options.count:
        problem = task.draw(options, draw)
        if problem.key not in seen:
            seen.add(problem.key)
            # drawn apart, so that the problems are the same whatever the share of mistakes
            wrong = Random(f"{options.seed} {problem.key}").random() < options.mistakes
            given = problem.mistaken if wrong else problem.answer
            yield _row(problem.question, f" {given}", problem.answer)


def _without_carry(terms: Sequence[int]) -> int:
    """The sum of each column of digits, of which only the last digit is kept."""
    places = range(max(len(str(term)) for term in terms))
    return sum(sum(term // 10**p % 10 for term in terms) % 10 * 10**p for p in places)


def _row(question: str, completion: str, answer: str, **more: Any) -> Mapping[str, Any]:
    return {
        "prompt": question,
        "completion": completion,
        "text": question + completion,
        "answer": answer,
        **more,
    }


def _gym_rows(name: str, options: GymOptions) -> Iterator[Mapping[str, Any]]:
    """Problems of a task of reasoning-gym; its entry goes along as JSON values."""
    dataset, score = _gym_dataset(name, options)
    for number in range(options.count):
        entry = dataset[number]
        question, answer = str(entry["question"]).rstrip() + "\n", entry["answer"]
        plain = json.loads(json.dumps(entry, default=str))
        if not isinstance(answer, str) or not answer.strip():
            # there is a scorer but no model answer: a prompt alone
            yield {"prompt": question, "entry": plain}
            continue
        if score(answer, plain) != dataset.score_answer(answer, entry):
            raise AccordError(
                f"The scorer of '{name}' judges differently by an entry that was JSON.",
                f"{TASK}{GYM}/{name}",
                "take another task: this one cannot be judged by the rows' entries",
            )
        yield _row(question, answer, answer, entry=plain)


def _gym_dataset(name: str, options: GymOptions) -> tuple[Any, Any]:
    """The data set, and the scorer that a reward will use."""
    where = f"{TASK}{GYM}/{name}"
    try:
        import reasoning_gym  # noqa: PLC0415 -- an optional dependency
        from reasoning_gym.factory import (  # noqa: PLC0415
            DATASETS,
            get_score_answer_fn,
        )
    except ImportError as missing:
        raise AccordError(
            "Tasks of reasoning-gym need reasoning-gym, which is not installed.",
            where,
            "pip install 'accord[tasks]'",
        ) from missing
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        raise AccordError(f"reasoning-gym has no task '{name}'.", where, hint)
    own = dict(options.model_extra or {})
    known = [
        field.name for field in fields(DATASETS[name][1]) if field.name not in ("size", "seed")
    ]
    for key in own:
        if key not in known:
            hint = did_you_mean(key, known)
            raise AccordError(f"The task '{name}' has no option '{key}'.", where, hint)
    try:
        made = reasoning_gym.create_dataset(name, size=options.count, seed=options.seed, **own)
        return made, get_score_answer_fn(name)
    except (AssertionError, ValueError, TypeError) as error:
        raise AccordError(f"The task '{name}' refuses its options: {error}.", where) from error
