"""The account of rows: each row that was read is kept or counted, by source and reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SourceAccount:
    """What became of one source's rows.

    `kept` rows go on to the stage; `dropped` rows do not; `truncated` rows are among the kept;
    `notes` are counts that are neither, such as rows seen again in a mixture; `languages` are the
    kept rows by language, where the source says how that is known.
    """

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


class Account:
    """Counts by source and reason, filled while rows are read, converted and cut."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceAccount] = {}

    def kept(self, source: str, count: int = 1, language: str | None = None) -> None:
        """`count` rows of `source`, in `language` where that is known, go on."""
        self._of(source).kept += count
        if language is not None:
            self._of(source).languages[language] += count

    def dropped(self, source: str, why: str, count: int = 1) -> None:
        """`count` rows of `source` stop here, because of `why`."""
        self._of(source).dropped[why] += count

    def truncated(self, source: str, why: str, count: int = 1) -> None:
        """`count` kept rows of `source` were cut."""
        self._of(source).truncated[why] += count

    def noted(self, source: str, what: str, count: int = 1) -> None:
        """`count` of something worth reporting that neither keeps nor drops a row."""
        self._of(source).notes[what] += count

    def withdraw(self, source: str, why: str, count: int = 1, language: str | None = None) -> None:
        """`count` rows counted as kept turn out not to be usable: kept - count, dropped + count."""
        self.kept(source, -count, language)
        self.dropped(source, why, count)

    def read(self, source: str) -> int:
        """Rows of `source` that were read: kept and dropped."""
        entry = self._of(source)
        return entry.kept + entry.dropped.total()

    def merge(self, other: "Account") -> None:
        """Add another account's counts to this one."""
        for source, theirs in other.sources.items():
            mine = self._of(source)
            mine.kept += theirs.kept
            mine.dropped.update(theirs.dropped)
            mine.truncated.update(theirs.truncated)
            mine.notes.update(theirs.notes)
            mine.languages.update(theirs.languages)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """`{source: {kept, dropped: {why: n}, truncated: {why: n}}}`; notes, languages if any."""
        out: dict[str, dict[str, Any]] = {}
        for source, entry in sorted(self.sources.items()):
            out[source] = {
                "kept": entry.kept,
                "dropped": dict(sorted(entry.dropped.items())),
                "truncated": dict(sorted(entry.truncated.items())),
            }
            for name, counts in (("notes", entry.notes), ("languages", entry.languages)):
                if counts:
                    out[source][name] = dict(sorted((+counts).items()))
        return out

    def _of(self, source: str) -> SourceAccount:
        return self.sources.setdefault(source, SourceAccount())
