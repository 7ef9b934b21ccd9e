"""Rows of a source to typed rows: the format recognised from a file's first row, then applied.

Which formats there are is the table in `conventions`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from accord.config.data import SourceConfig
from accord.data.cells import RowFault
from accord.data.conventions import COLUMNS, FORMATS, Format, as_written, standard
from accord.data.language import Teller, teller
from accord.data.rawfile import BadRow, FilteredRow, RawRow, row_sample
from accord.data.rows import PairRow, Row
from accord.data.sources import source_name, value_at
from accord.data.turns import all_turns
from accord.errors import AccordError

IDENTICAL = "chosen and rejected are identical"
LISTED = 12
"""Columns that a message lists."""


def recognise(columns: Mapping[str, Any], where: str, named: Mapping[str, str]) -> Format:
    """The first format whose columns are all there; `named` columns have to be among its own.

    A format whose columns are all named as they are, {text: text}, is meant. Columns that begin or
    misspell a fuller format are not passed over in favour of a smaller one, unless `named`.

    Raises:
        AccordError: None fits; says what was found, the nearest format and what it lacks.
    """
    if not columns:
        raise AccordError("The row has no columns.", where, 'write {"text": …}')
    fitting = [form for form in FORMATS if set(form.needs) <= columns.keys()]
    for form in fitting:
        if all(named.get(need) == need for need in form.needs):
            return form
    wanted = named.keys() & set(COLUMNS)
    for form in fitting:
        if wanted <= set(form.columns):
            fuller = None if wanted else _begun(form, columns)
            if fuller is None:
                return form
            raise _unknown(fuller, columns, where, form)
    nearest = max(reversed(FORMATS), key=lambda form: (_closeness(form, columns), -len(form.needs)))
    raise _unknown(nearest, columns, where)


def _unknown(
    near: Format, columns: Mapping[str, Any], where: str, smaller: Format | None = None
) -> AccordError:
    spelled = {need: _near(need, columns) for need in near.needs if need not in columns}
    slips = [
        f"did you mean '{need}' by {_quoted(like)}?" if like else f"'{need}' is missing."
        for need, like in spelled.items()
    ]
    mapping = ", ".join(f"{need}: {like or '…'}" for need, like in spelled.items())
    fix = (
        f"nearest is {near.name} ({', '.join(near.needs)}): {' '.join(slips)} "
        f"Name them with fields: {{{mapping}}}"
    )
    if smaller is not None:
        own = ", ".join(f"{need}: {need}" for need in smaller.needs)
        fix += f"; or, if {' and '.join(smaller.needs)} alone is meant, fields: {{{own}}}"
    if re.search(r"\.[ct]sv(\.gz)?:\d+$", where):
        fix += "; a table without a header line needs columns: [a, b, …]"
    if not any(need in columns or spelled[need] for need in near.needs):
        fix = _inside(columns) or fix
    listed = ", ".join(_plain(column) for column in list(columns)[:LISTED])
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return AccordError(f"No known format has the columns: {listed}{more}.", where, fix)


def _inside(columns: Mapping[str, Any]) -> str:
    """What to do about a column that holds a list of objects: turns under another name, or rows."""
    for column, value in columns.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            if {"role", "content"} <= value[0].keys() or {"from", "value"} <= value[0].keys():
                return f"{_quoted(column)} looks like messages: fields: {{messages: {column}}}"
            return f"the rows seem to stand inside {_quoted(column)}: write them as an array"
    return ""


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
            AccordError: The file's first row fits no format, or the source's `language` is a slip.
        """
        columns = standard(raw.mapping)
        form = self._format(raw, columns)
        try:
            _complete(form, columns)
            parts = form.convert(columns)
            if self.source.strings == "turns":
                parts = all_turns(parts)
            group = self._group(raw.mapping)
            language = self._language(raw.mapping, parts)
        except RowFault as fault:
            why = as_written(fault.why, raw.mapping)
            fix = as_written(fault.fix, raw.mapping)
            return BadRow(raw.where, why, row_sample(raw.mapping), fix)
        if form.row is PairRow and parts["chosen"] == parts["rejected"]:
            return FilteredRow(raw.where, IDENTICAL)
        used = set(form.columns)
        return form.row(
            **parts,
            where=raw.where,
            source=source_name(self.source),
            group=group,
            language=language,
            extra={key: value for key, value in columns.items() if key not in used},
        )

    def format_of(self, where: str) -> Format:
        """The format of the file that a converted row stands in."""
        return self.formats[where.rpartition(":")[0]]

    def _format(self, raw: RawRow, columns: Mapping[str, Any]) -> Format:
        file = raw.where.rpartition(":")[0]
        if file not in self.formats:
            self.formats[file] = recognise(columns, raw.where, self.source.fields or {})
        return self.formats[file]

    @cached_property
    def _language(self) -> Teller:
        return teller(self.source)

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


def _complete(form: Format, columns: Mapping[str, Any]) -> None:
    """Refuse a row that lacks a column of its file's format."""
    lacking = [need for need in form.needs if need not in columns]
    if not lacking:
        return
    like = _near(lacking[0], columns)
    read_as = f"the file is read as {form.name} ({', '.join(form.needs)}), as its first row is"
    fix = (
        f"did you mean '{lacking[0]}' by {_quoted(like)}?"
        if like
        else f"{read_as}: one format a file"
    )
    raise RowFault(f"column '{lacking[0]}' is missing", fix)


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


def _plain(column: str) -> str:
    """A column's name as a message can print it."""
    return column if column.isprintable() and column else ascii(column)


def _quoted(column: str) -> str:
    return f"'{_plain(column)}'"
