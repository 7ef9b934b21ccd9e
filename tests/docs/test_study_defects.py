"""The tests that the page on the study's mistakes names are there, and it names all of them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "study-defects.md").read_text(encoding="utf-8")
PLANTED = ("tests/stages/test_study_defects.py", "tests/stages/test_study_data_defects.py")
NAMED = re.findall(r"\| `(tests/\S+)::(\w+)` \|", PAGE)
DEFECTS = (
    *("evaluation prompts", "empty prompts", "minus sign", "broadcast", "GAE", "value vector"),
    *("chosen equal to rejected", "end token", "sampling settings", "ranks", "+3.43"),
)


def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {name for name in found if name.startswith("test_")}


def test_every_named_test_exists() -> None:
    assert len(NAMED) == PAGE.count("`tests/") > len(DEFECTS)
    for path, name in NAMED:
        assert name in defined_in(path), f"{path}::{name}"


def test_every_planted_mistake_is_on_the_page() -> None:
    for file in PLANTED:
        assert {name for path, name in NAMED if path == file} == defined_in(file)


def test_every_mistake_has_a_row() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    for defect in DEFECTS:
        assert sum(defect in row for row in rows) == 1, defect
