"""The page of losses is what the tables of losses render, and says which settings they take."""

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

from accord.config.preference import FREE, LabelLoss, PairLoss

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "losses.py"))
PAGE = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_script_writes() -> None:
    assert SCRIPT["rendered"](PAGE) == PAGE
    emptied = re.sub(r"(table: \w+ -->\n).*?(<!-- end)", r"\1\2", PAGE, flags=re.DOTALL)
    assert "| `sigmoid` |" in PAGE and "| `sigmoid` |" not in emptied
    assert SCRIPT["rendered"](emptied) == PAGE


def rows(table: str) -> dict[str, list[str]]:
    cells = [line.strip("| ").split(" | ") for line in SCRIPT["TABLES"][table]().splitlines()]
    assert len({len(row) for row in cells}) == 1
    return {row[0].strip("`"): row for row in cells[2:]}


def test_every_loss_has_a_row_with_a_linked_paper() -> None:
    pairs, labels = rows("pairs"), rows("labels")
    assert tuple(pairs) == get_args(PairLoss)
    assert tuple(labels) == get_args(LabelLoss)
    for row in (*pairs.values(), *labels.values()):
        assert re.search(r"\]\(https://arxiv\.org/abs/\d{4}\.\d{5}\)", row[-1])
    assert {name for name, row in pairs.items() if row[2] == "no"} == FREE


def test_settings_stand_with_the_losses_they_change() -> None:
    pairs = rows("pairs")
    assert pairs["exo_pair"][3] == "`label_smoothing` (needed), `f_divergence_type`"
    assert pairs["simpo"][3] == "`simpo_gamma`, `label_smoothing`"
    assert pairs["apo_zero"][3] == ""
    assert rows("settings")["ld_alpha"][1:] == ["off", "every loss of pairs but `sft`"]
    assert rows("settings")["weighting"][1:] == ["off", "every loss of pairs"]
    assert rows("settings")["f_divergence_type"][1] == "`reverse_kl`"


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table 'labels'"):
        SCRIPT["rendered"](PAGE.replace("<!-- table: labels -->", ""))
