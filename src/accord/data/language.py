"""In which language a row is: named by its source, read from a column, or detected."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from accord.config.data import SourceConfig
from accord.data.cells import RowFault, kind_of
from accord.data.sources import value_at
from accord.errors import AccordError

UNKNOWN = "unknown"
"""Where a column is blank, or nothing is detected with confidence."""

COLUMN = "column:"
DETECT = "detect"
CONFIDENT = 0.8
"""Probability below which a detected language is not believed."""
LOOKED_AT = 1000
"""Characters that detection reads."""

Teller = Callable[[Mapping[str, Any], Mapping[str, Any]], str | None]
"""Columns of a row and its parts (prompt, chosen, …) to its language."""

_ASKED_AND_WANTED = ("prompt", "chosen", "completion")


def teller(source: SourceConfig) -> Teller:
    """How a source's rows say their language; none where the source does not say how.

    Raises:
        AccordError: `detect` without py3langid, or a name that can only be a slip.
    """
    named = source.language
    if named is None or named.startswith(COLUMN):
        path = (named or "").removeprefix(COLUMN)
        return (lambda row, _: _in_column(row, path)) if path else (lambda *_: None)
    if named == DETECT:
        return _detector()
    slip = get_close_matches(named.lower(), (DETECT, "column"), n=1, cutoff=0.75)
    if slip or ":" in named or not named.strip():
        fix = f"did you mean '{slip[0]}'?" if slip and slip[0] == DETECT else ""
        raise AccordError(
            f"language is {named!r}.",
            source.name or source.source,
            fix or "write a name (ko), column:NAME or detect",
        )
    return lambda *_: named


def _in_column(row: Mapping[str, Any], path: str) -> str:
    try:
        value = value_at(row, path)
    except KeyError as error:
        raise RowFault(f"language: {error.args[0]}", error.args[1]) from None
    if value is None or value == "":
        return UNKNOWN
    if not isinstance(value, str):
        raise RowFault(f"the language field '{path}' is {kind_of(value)}, expected a string")
    return value.strip() or UNKNOWN


def _detector() -> Teller:
    identifier = _identifier()

    def tell(_: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
        code, probability = identifier.classify(spoken_text(parts)[:LOOKED_AT])
        return str(code) if probability >= CONFIDENT else UNKNOWN

    return tell


@cache
def _identifier() -> Any:
    """py3langid's model, which takes a second to load and answers without any state."""
    try:
        from py3langid import langid  # noqa: PLC0415 -- only sources that detect need it
    except ImportError:
        raise AccordError(
            "Detecting languages needs py3langid.",
            "language: detect",
            "pip install 'accord[rewards]', or name the language",
        ) from None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def spoken_text(parts: Mapping[str, Any]) -> str:
    """What is asked and the wanted answer, or the text."""
    said = (message for name in _ASKED_AND_WANTED for message in parts.get(name, ()))
    return parts.get("text") or "\n".join(message.content for message in said)
