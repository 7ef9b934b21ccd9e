"""The tests that the page on preferences names are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "preference.md").read_text(encoding="utf-8")


def test_every_mistake_has_the_test_that_is_named() -> None:
    named = re.findall(r"\| `(tests/\S+)::(\w+)` \|", PAGE)
    assert len(named) == PAGE.count("`tests/") >= 12
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
