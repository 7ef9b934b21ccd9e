"""Reward functions: a table from names to what judges one answer. A new one is a row.

What a function needs is imported when it is built, so that a missing library is told before
anything is sampled and no sample pays for the import.
"""

import importlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from accord.config.functions import (
    ColumnOptions,
    EntryOptions,
    KeywordOptions,
    LanguageOptions,
    LengthOptions,
    RegexOptions,
    parse_function,
)
from accord.config.options import NoOptions
from accord.config.rewards import RewardTerm
from accord.errors import AccordError, did_you_mean
from accord.rewards.answer import Answer, Judge, Reward
from accord.rewards.guard import guarded

_NUMBER = re.compile(r"[+-]?((\d{1,3}(,\d{3})+|\d+)(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)


def reward_function(term: RewardTerm) -> Reward:
    """The reward that a term's function gives, each call bounded by the term's timeout.

    Raises:
        AccordError: A library, a module, a task or a language is not there.
    """
    name = term.function or ""
    kind, argument, options = parse_function(name, term.options)
    return guarded(FUNCTIONS[kind](argument, options), name, term.timeout)


def vader(_: str, __: NoOptions) -> Judge:
    """Sentiment of the text from −1 to 1: VADER's compound score.

    Source: Hutto & Gilbert, ICWSM 2014.
    """
    analyzer = _needed("vaderSentiment.vaderSentiment", "vader").SentimentIntensityAnalyzer()
    return lambda answer: analyzer.polarity_scores(answer.text)["compound"]


def length(_: str, options: LengthOptions) -> Judge:
    """Tokens of the completion without the one that ended it; or minus what misses a target."""
    if options.target is not None:
        return partial(_distance, options.target)
    if options.max is not None:
        return partial(_excess, options.max)
    return lambda answer: answer.tokens


def regex(_: str, options: RegexOptions) -> Judge:
    """1 where the text matches the pattern, else 0."""
    pattern = re.compile(options.pattern)
    found = pattern.fullmatch if options.match == "full" else pattern.search
    return lambda answer: float(found(answer.text) is not None)


def language(_: str, options: LanguageOptions) -> Judge:
    """Probability that the text is in a language, or 1 where it is the likeliest; else 0."""
    module = _needed("py3langid.langid", "language")
    identifier = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)
    for code in (options.code, *(options.among or ())):
        if code not in identifier.labels:
            hint = did_you_mean(code, identifier.labels)
            raise AccordError(f"No language has the code '{code}' here.", "reward language", hint)
    if options.among is not None:
        identifier.set_languages({options.code, *options.among})
    if options.score == "match":
        return lambda answer: float(identifier.classify(answer.text)[0] == options.code)
    return lambda answer: dict(identifier.rank(answer.text))[options.code]


def exact(_: str, options: ColumnOptions) -> Judge:
    """1 where the stripped completion equals a column of its row, numbers as numbers; else 0."""
    return lambda answer: float(
        same_answer(answer.completion, str(column_of(answer, options.column)))
    )


def math_verify(_: str, options: ColumnOptions) -> Judge:
    """1 where math-verify finds the completion's last answer equal to a column of its row."""
    library = _needed("math_verify", "math_verify")
    # it would warn that its own time limits, which the guard's replace, are off
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return partial(_verified, library, options.column)


def reasoning_gym(task: str, options: EntryOptions) -> Judge:
    """What the task's own scorer in reasoning-gym gives the completion, from 0 to 1."""
    _needed("reasoning_gym", "reasoning_gym")
    factory = importlib.import_module("reasoning_gym.factory")
    if task not in factory.DATASETS:
        raise AccordError(
            f"reasoning-gym has no task '{task}'.",
            f"reward reasoning_gym:{task}",
            did_you_mean(task, factory.DATASETS),
        )
    score = factory.get_score_answer_fn(task)
    return lambda answer: score(answer.completion.strip(), column_of(answer, options.column))


def python(place: str, options: KeywordOptions) -> Judge:
    """What a function of the user's own gives: called with the `Answer` and the options.

    Its module is looked for as any, then in the working directory.
    """
    name, _, attribute = place.partition(":")
    module = _own_module(name, f"reward python:{place}")
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise AccordError(
            f"The module '{name}' has no function '{attribute}'.",
            f"reward python:{place}",
            did_you_mean(attribute, known),
        )
    return partial(function, **options.model_dump())


Factory = Callable[[str, Any], Judge]

FUNCTIONS: Mapping[str, Factory] = {
    "vader": vader,
    "length": length,
    "regex": regex,
    "language": language,
    "exact": exact,
    "math_verify": math_verify,
    "reasoning_gym": reasoning_gym,
    "python": python,
}
"""What follows the colon of a name, and its options, to what judges; `config.functions` has the
options of each."""


def column_of(answer: Answer, column: str) -> Any:
    """A column of the answer's row.

    Raises:
        AccordError: The row has none of that name, or nothing in it.
    """
    value = answer.extra.get(column)
    if value is None:
        raise AccordError(
            f"The row has no column '{column}' to judge by.",
            fix=did_you_mean(column, answer.extra) or "take prompts from rows that have it",
        )
    return value


def same_answer(given: str, wanted: str) -> bool:
    """Whether two answers are equal: as numbers if both are such, else letter by letter."""
    given, wanted = given.strip(), wanted.strip()
    numbers = _decimal(given), _decimal(wanted)
    if None in numbers:
        return given == wanted
    return numbers[0] == numbers[1]


def _decimal(text: str) -> Decimal | None:
    """A plain number exactly; commas between thousands are allowed."""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def _distance(target: int, answer: Answer) -> float:
    return -abs(answer.tokens - target)


def _excess(most: int, answer: Answer) -> float:
    return -max(0, answer.tokens - most)


def _verified(library: Any, column: str, answer: Answer) -> float:
    right = _as_math(str(column_of(answer, column)))
    # its own time limits set SIGALRM, which is the guard's
    gold = library.parse(right, parsing_timeout=None)
    if not gold:
        raise AccordError(
            f"The column '{column}' holds no mathematical answer: {right:.60}.",
            fix="give a number, an expression or LaTeX",
        )
    given = library.parse(answer.completion, parsing_timeout=None)
    return float(library.verify(gold, given, timeout_seconds=None))


def _as_math(text: str) -> str:
    """LaTeX in the delimiters without which only its numbers would be found."""
    bare = "\\" in text and not re.search(r"\$|\\[\[(]|\\boxed", text)
    return f"${text}$" if bare else text


def _needed(module: str, function: str) -> Any:
    """A library that is not installed with Accord alone."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        extra = "tasks" if module.startswith("reasoning_gym") else "rewards"
        raise AccordError(
            f"The reward '{function}' needs {module.partition('.')[0]}, which is not installed.",
            "rewards",
            f"pip install 'accord[{extra}]'",
        ) from missing


def _own_module(name: str, where: str) -> ModuleType:
    """A module on the path or in the working directory, its own faults told as such."""
    here = str(Path.cwd())
    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0] or here in sys.path:
                raise
            sys.path.append(here)
            try:
                return importlib.import_module(name)
            finally:
                sys.path.remove(here)
    except ModuleNotFoundError as error:
        raise AccordError(
            f"There is no module '{error.name}'.",
            where,
            f"put {name.replace('.', '/')}.py into the working directory, or install it",
        ) from error
    except Exception as error:
        raise AccordError(
            f"The module '{name}' cannot be imported: {type(error).__name__}: {error}", where
        ) from error
