"""The page on the diagnosis has a row for every finding that there is, as its script writes it."""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "findings_table.py"))
PAGE = (ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8")
CHECKS = ROOT / "src" / "accord" / "evaluation" / "findings"


def raised() -> Iterator[tuple[str, bool]]:
    """Each finding's name in the source, and whether it only informs."""
    for path in CHECKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                name, severity = (ast.unparse(part) for part in node.args[:2])
                for what in ("dropped", "truncated") if "{what}" in name else ("",):
                    told = name.removeprefix("f").replace("{what}", what).strip("'\"")
                    yield told, severity == "'info'"


def test_the_committed_table_is_what_the_script_writes() -> None:
    assert SCRIPT["rendered"](PAGE) == PAGE
    emptied = re.sub(r"(<!-- findings -->).*?(<!-- end of f)", r"\1\2", PAGE, flags=re.DOTALL)
    assert "| `router_collapsed` |" not in emptied and SCRIPT["rendered"](emptied) == PAGE


def test_every_finding_has_a_row_and_no_other() -> None:
    found = {name for name, informs in raised() if not informs}
    assert len(found) > 40
    assert found == set(SCRIPT["FINDINGS"])
