"""Sizes, what is free, and what stages took before."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.pipeline import memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GB", 12 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("800mb", 8 * 10**8),
        ("1024", 1024),
    ],
)
def test_sizes(text, size):
    assert memory.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "12 horses", "-1GB", "0", "1e9"])
def test_what_is_no_size(text):
    with pytest.raises(AccordError, match="not a size of memory"):
        memory.parse_bytes(text)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 1 << 50))
def test_bytes_are_read_as_they_are_written(size):
    assert memory.parse_bytes(f"{size}") == memory.parse_bytes(f" {size} ") == size


def test_the_budget_is_a_share_of_what_is_available(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9999 kB\nMemAvailable: 1000 kB\n")
    assert memory.budget(meminfo) == int(0.8 * 1000 * 1024)


def test_a_stage_needs_the_most_that_one_of_its_name_held(tmp_path):
    stages, logs = tmp_path / "stages", tmp_path / "logs"
    logs.mkdir()
    for key, peaks in {"dpo-0a": [5, 90, 7], "dpo-0b": [60], "my-sft-0c": [30]}.items():
        records = stages / key / "accord"
        records.mkdir(parents=True)
        lines = [json.dumps({"step": 1, "peak_memory_bytes": peak}) for peak in peaks]
        (records / "metrics.jsonl").write_text("\n".join([*lines, '{"cut']))
    (logs / "report-0d.json").write_text('{"code": 0, "peak_memory_bytes": 40}')
    (logs / "my-sft-0c.json").write_text('{"code": 0, "peak_memory_bytes": 35}')
    (logs / "tokenizer-0e.json").write_text('{"code": 0}')
    (logs / "report-0f.json").write_text('{"code": 2, "peak_memory_bytes": 50}')
    assert memory.needs(stages, logs) == {"dpo": 90, "my-sft": 35, "report": 40}
