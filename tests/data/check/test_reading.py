"""A source read to its end, with everything that is wrong with it."""

import pytest

from accord.config.data import SourceConfig
from accord.data.check.reading import findings, named_source, read_source
from accord.errors import AccordError

PAIR = {"prompt": "q", "chosen": "yes", "rejected": "no"}


def test_all_faults_are_collected_with_their_lines(write, tmp_path) -> None:
    rows = [PAIR, PAIR | {"rejected": None}, PAIR | {"rejected": "yes"}, PAIR | {"chosen": ""}]
    path = write(rows)
    found = read_source(path, tmp_path)
    assert (found.read, len(found.rows)) == (4, 1)
    assert [row.where for row in found.bad] == [f"{path}:2", f"{path}:4"]
    (why, left_out), *others = found.left_out.items()
    assert not others and "identical" in why
    assert (left_out.count, left_out.places) == (1, [f"{path}:3"])
    error, warning = findings(found)
    assert (error.severity, error.places) == ("error", (f"{path}:2", f"{path}:4"))
    assert error.says.startswith("2 rows of 4 ")
    assert (warning.severity, warning.places) == ("warning", (f"{path}:3",))


def test_a_misspelt_column_of_one_row_gets_did_you_mean(write, tmp_path) -> None:
    path = write([PAIR, {"prompt": "q", "chosen": "yes", "rejeced": "no"}])
    (bad,) = read_source(path, tmp_path).bad
    assert "did you mean 'rejected' by 'rejeced'?" in bad.fix


def test_columns_that_no_format_reads_are_named(write, tmp_path) -> None:
    found = read_source(write([PAIR | {"id": 1}, PAIR | {"id": 2, "by": "me"}]), tmp_path)
    assert found.unused == {"id": 2, "by": 1}


def test_settings_of_a_source_are_used(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1\tgood\n2\ta bad one\n")
    source = SourceConfig(source=str(path), columns=("id", "text"), min_words=2)
    found = read_source(source, tmp_path)
    assert found.formats == {"text": 1}
    assert found.left_out["shorter than 2 words"].count == 1
    assert [finding.severity for finding in findings(found)] == ["note"]


def test_files_of_different_formats_are_noted(write, tmp_path) -> None:
    write([PAIR])
    write([{"text": "x"}], "b.jsonl")
    found = read_source(tmp_path, tmp_path)
    assert found.formats == {"preference": 1, "text": 1}
    assert [finding.name for finding in findings(found)] == ["formats"]


def test_what_cannot_be_read_as_a_whole_is_an_error(write, tmp_path) -> None:
    with pytest.raises(AccordError, match="No such file"):
        read_source(tmp_path / "gone.jsonl", tmp_path)
    with pytest.raises(AccordError, match="holds no rows"):
        read_source(write([], "b.jsonl"), tmp_path)
    with pytest.raises(AccordError, match="No known format"):
        read_source(write([{"x": 1}], "c.jsonl"), tmp_path)
    with pytest.raises(AccordError, match="no task 'adition'"):
        named_source("task:adition")
