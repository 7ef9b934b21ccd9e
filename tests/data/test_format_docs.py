"""The table of formats in the docs: every example is read as the format it stands for."""

import json
import re
from pathlib import Path

import pytest

from accord.config.data import SourceConfig
from accord.data.conventions import FORMATS
from accord.data.formats import Converter
from accord.data.rawfile import RawRow
from accord.data.rows import Row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"
EXAMPLES = re.findall(r"^\| ([\w -]+) \| `(\{.*\})` \|$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_each_example_is_read_as_its_format(name, example) -> None:
    convert = Converter(SourceConfig(source="f.jsonl"))
    row = convert(RawRow(json.loads(example), "f.jsonl:1"))
    assert isinstance(row, Row), row
    assert convert.format_of(row.where).name == name


def test_every_format_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == {form.name for form in FORMATS}
