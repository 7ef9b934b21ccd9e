"""The list of all names, and the docs page that the entries render."""

from pathlib import Path

from accord.explain.catalogue import catalogue, page, subject_of
from accord.explain.keys import recipe_keys
from accord.explain.names import known_names, meanings
from accord.explain.text import columns, lines, listing
from accord.report.glossary import KEYS, LABELLED, METRICS, SUBJECTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_page_is_what_the_entries_render():
    rendered = page()
    assert PAGE.read_text(encoding="utf-8") == rendered, "accord explain --all > docs/metrics.md"
    for name in (*METRICS, *LABELLED):
        assert f"### `{name}`\n" in rendered
    for key in KEYS:
        assert f"#### `{recipe_name(key)}`\n" in rendered


def recipe_name(key: str) -> str:
    return next(k.name for k in recipe_keys() if f"{k.owner}.{k.name}" == key)


def test_the_page_tells_every_part_of_an_entry():
    block = page().split("### `ece`\n")[1].split("\n### ")[0]
    entry = METRICS["ece"]
    for words in (entry.what, entry.healthy, entry.bad, entry.try_):
        assert words in block


def test_every_name_is_listed_under_some_subject():
    told = [n for sorts in catalogue().values() for names in sorts.values() for n in names]
    assert set(told) == set(known_names())
    keys = [n for sorts in catalogue().values() for n in sorts.get("recipe keys", [])]
    assert len(keys) == len(set(keys))


def test_every_key_has_a_subject():
    assert {subject_of(key) for key in recipe_keys()} == set(SUBJECTS)


def test_columns_fit_and_read_downwards():
    names = ["a", "bb", "ccc", "dddd", "e"]
    assert columns(names, 14) == ["  a     dddd", "  bb    e", "  ccc"]
    assert columns(names, 5) == [f"  {name}" for name in names]
    assert columns([], 10) == []


def test_lines_keep_to_the_width():
    for width in (60, 100):
        for name in ("loss", "beta", "simpo", "temperature", "grpo"):
            shown = lines(meanings(name), width)
            assert max(map(len, shown)) <= width
        assert max(map(len, listing(catalogue(), width))) <= width


def test_a_meaning_shows_its_parts_in_order():
    shown = lines(meanings("dpo.beta"), 100)
    assert shown[0] == "beta: recipe key of preference"
    labels = [line.split()[0] for line in shown[2:] if line[2] != " "]
    assert labels == ["takes", "default", "healthy", "otherwise", "try"]
