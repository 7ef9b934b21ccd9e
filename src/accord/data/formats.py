"""Which columns mean what: one table of formats, recognised from a file's first row.

A new format is one function in `adapters` and one row in `FORMATS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from accord.config.data import SourceConfig
from accord.data import adapters
from accord.data.adapters import Parts, RowFault
from accord.data.rawfile import SAMPLE, BadRow, FilteredRow, RawRow
from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow
from accord.data.sources import source_name, value_at
from accord.errors import AccordError

IDENTICAL = "chosen and rejected are identical"


@dataclass(frozen=True)
class Format:
    """A set of columns, the row they make, and the function that makes it."""

    name: str
    needs: tuple[str, ...]
    row: type[Row]
    convert: Callable[[Mapping[str, Any]], Parts]
    may: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the format reads; the others go to `extra`."""
        return self.needs + self.may


# the more columns a format needs the earlier it stands: the first that fits is taken
FORMATS: tuple[Format, ...] = (
    Format(
        "question-pair",
        ("question", "chosen", "rejected"),
        PairRow,
        adapters.question_pair_row,
        ("system", "margin"),
    ),
    Format(
        "sharegpt-pair",
        ("conversations", "chosen", "rejected"),
        PairRow,
        adapters.sharegpt_pair,
    ),
    Format(
        "preference",
        ("prompt", "chosen", "rejected"),
        PairRow,
        adapters.pair_row,
        ("system", "margin"),
    ),
    Format(
        "labelled",
        ("prompt", "completion", "label"),
        LabelRow,
        adapters.label_row,
        ("system",),
    ),
    Format(
        "implicit-prompt preference",
        ("chosen", "rejected"),
        PairRow,
        adapters.implicit_pair_row,
        ("system", "margin"),
    ),
    Format(
        "prompt-completion",
        ("prompt", "completion"),
        ChatRow,
        adapters.prompt_completion_row,
        ("system",),
    ),
    Format("alpaca", ("instruction", "output"), ChatRow, adapters.alpaca_row, ("input", "system")),
    Format("messages", ("messages",), ChatRow, adapters.messages_row),
    Format("sharegpt", ("conversations",), ChatRow, adapters.sharegpt_row),
    Format("completion", ("completion",), ChatRow, adapters.completion_row),
    Format("prompt", ("prompt",), ChatRow, adapters.prompt_row, ("system",)),
    Format("text", ("text",), TextRow, adapters.text_row),
)

COLUMNS = tuple(sorted({column for form in FORMATS for column in form.columns}))


def recognise(columns: Mapping[str, Any], where: str, named: frozenset[str]) -> Format:
    """The first format whose columns are all there; `named` columns have to be among its own.

    Columns that begin or misspell a fuller format are not passed over in favour of a smaller one,
    unless `named` says that this is meant.

    Raises:
        AccordError: None fits; says what was found, the nearest format and what it lacks.
    """
    wanted = named & frozenset(COLUMNS)
    for form in FORMATS:
        if set(form.needs) <= columns.keys() and wanted <= set(form.columns):
            fuller = None if wanted else _begun(form, columns)
            if fuller is None:
                return form
            raise _unknown(fuller, columns, where)
    nearest = max(reversed(FORMATS), key=lambda form: (_closeness(form, columns), -len(form.needs)))
    raise _unknown(nearest, columns, where)


def _unknown(near: Format, columns: Mapping[str, Any], where: str) -> AccordError:
    spelled = {need: _near(need, columns) for need in near.needs if need not in columns}
    slips = [
        f"did you mean '{need}' by '{like}'?" if like else f"'{need}' is missing."
        for need, like in spelled.items()
    ]
    mapping = ", ".join(f"{need}: {like or '…'}" for need, like in spelled.items())
    return AccordError(
        f"No known format has the columns: {', '.join(columns)}.",
        where,
        f"nearest is {near.name} ({', '.join(near.needs)}): {' '.join(slips)} "
        f"Name them with fields: {{{mapping}}}",
    )


def _begun(form: Format, columns: Mapping[str, Any]) -> Format | None:
    """A format that needs more than `form`, some of which is there or misspelt."""
    for fuller in FORMATS:
        more = set(fuller.needs) - set(form.needs)
        if set(form.needs) < set(fuller.needs) and (
            more & columns.keys() or all(_near(need, columns) for need in more)
        ):
            return fuller
    return None


@dataclass
class Converter:
    """Raw rows of one source to rows; each file keeps the format that its first row shows."""

    source: SourceConfig
    formats: dict[str, Format] = field(default_factory=dict)

    def __call__(self, raw: RawRow) -> Row | BadRow | FilteredRow:
        """The row, or why it cannot be used.

        Raises:
            AccordError: The file's first row fits no format.
        """
        file = raw.where.rpartition(":")[0]
        form = self.formats.get(file)
        if form is None:
            named = frozenset(self.source.fields or ())
            form = self.formats[file] = recognise(raw.mapping, raw.where, named)
        try:
            lacking = [need for need in form.needs if need not in raw.mapping]
            if lacking:
                like = _near(lacking[0], raw.mapping)
                fix = f"did you mean '{lacking[0]}' by '{like}'?" if like else ""
                raise RowFault(f"column '{lacking[0]}' is missing", fix)
            parts = form.convert(raw.mapping)
            group = self._group(raw.mapping)
        except RowFault as fault:
            return BadRow(raw.where, fault.why, repr(dict(raw.mapping))[:SAMPLE], fault.fix)
        if form.row is PairRow and parts["chosen"] == parts["rejected"]:
            return FilteredRow(raw.where, IDENTICAL)
        used = set(form.columns)
        return form.row(
            **parts,
            where=raw.where,
            source=source_name(self.source),
            group=group,
            extra={key: value for key, value in raw.mapping.items() if key not in used},
        )

    def format_of(self, where: str) -> Format:
        """The format of the file that a converted row stands in."""
        return self.formats[where.rpartition(":")[0]]

    def _group(self, row: Mapping[str, Any]) -> str | None:
        if self.source.group is None:
            return None
        try:
            value = value_at(row, self.source.group)
        except KeyError as error:
            raise RowFault(f"group: {error.args[0]}", error.args[1]) from None
        if value is None:
            raise RowFault(f"the group field '{self.source.group}' is null")
        key = value if isinstance(value, str) else repr(value)
        if self.source.group_pattern is None:
            return key
        found = re.search(self.source.group_pattern, key)
        if found is None:
            raise RowFault(f"group_pattern finds nothing in '{key[:40]}'")
        return found[1] if found.re.groups else found[0]


def _near(need: str, columns: Mapping[str, Any]) -> str | None:
    """A column that looks like a misspelling of `need`; `prompt_id` is none of `prompt`."""
    unknown = [
        column
        for column in columns
        if column not in COLUMNS and not column.startswith(f"{need.removesuffix('s')}_")
    ]
    close = get_close_matches(need, unknown, n=1, cutoff=0.8)
    return close[0] if close else None


def _closeness(form: Format, columns: Mapping[str, Any]) -> float:
    """Share of a format's columns that are there, a likely misspelling counting almost whole."""
    score = sum(
        1.0 if need in columns else 0.9 if _near(need, columns) else 0.0 for need in form.needs
    )
    return score / len(form.needs)
