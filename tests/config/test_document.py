"""YAML is read by the rules that people expect, with line numbers."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.document import parse_yaml, read_yaml
from accord.errors import AccordError


def test_lines_are_those_of_the_keys():
    document = parse_yaml("a: 1\nb:\n  c:\n    - x\n    - y: 2\n", "f.yaml")
    assert document.value == {"a": 1, "b": {"c": ["x", {"y": 2}]}}
    assert document.origin(("b", "c")) == "f.yaml:3"
    assert document.origin(("b", "c", 1, "y")) == "f.yaml:5"
    assert document.origin(("b", "c", 1, "gone", "deeper")) == "f.yaml:5"
    assert document.where(("a",)) == "f.yaml:1, a"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("3", 3),
        ("-0.5", -0.5),
        ("0x10", 16),
        (".inf", float("inf")),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("[1, a]", [1, "a"]),
        ("1_000", "1_000"),
    ],
)
def test_plain_words(text, value):
    found = parse_yaml(text, "f").value
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' is written twice", 3),
        ("x:\n  a: 1\n  a: 1\n", "key 'a' is written twice", 3),
        ("a: [1\nb: 2\n", "not valid YAML", 2),
        ("a: !!python/object/apply:os.system [ls]\n", "is not allowed", 1),
        ("? [a]\n: 1\n", "a key must be a single word", 1),
        ("a: &x\n  b: *x\n", "an alias contains itself", 1),
        ("a:\n  <<: 3\n", "'<<' needs a mapping", 2),
    ],
)
def test_what_is_refused(text, what, line):
    with pytest.raises(AccordError) as caught:
        parse_yaml(text, "f.yaml")
    assert what in str(caught.value)
    if caught.value.where:
        assert caught.value.where.startswith(f"f.yaml:{line}")


def test_a_twice_written_key_names_the_first(tmp_path):
    with pytest.raises(AccordError, match=r"the first is at f\.yaml:1"):
        parse_yaml("a: 1\na: 2\n", "f.yaml")


def test_aliases_that_multiply_are_stopped():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(AccordError, match="write fewer aliases"):
        parse_yaml("\n".join(lines), "f.yaml")


def test_a_merge_gives_what_is_not_said():
    text = "base: &b {lr: 1, steps: 2}\nsft:\n  <<: *b\n  lr: 3\n"
    document = parse_yaml(text, "f")
    assert document.value["sft"] == {"lr": 3, "steps": 2}
    assert document.origin(("sft", "lr")) == "f:4"
    assert document.origin(("sft", "steps")) == "f:1"


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(AccordError, match="not UTF-8") as caught:
        read_yaml(tmp_path / "bad.yaml")
    assert caught.value.where.endswith("bad.yaml:2")
    with pytest.raises(AccordError, match="this is a folder"):
        read_yaml(tmp_path)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(PLAIN)
def test_what_yaml_writes_is_read_back(value):
    assert parse_yaml(yaml.safe_dump(value), "f").value == value
