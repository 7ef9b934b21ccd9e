"""The frame of `make interop`: a family that hangs or fails ends its own row only."""

import json
from pathlib import Path
from typing import Any

import pytest

ROW = {
    "mode": "compare",
    "name": "llama",
    "seconds": 9,
    "model_type": "llama",
    "same": [48, 47],
    "logits_apart": 2.5e-5,
    "ok": False,
}


def test_a_family_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    import interop

    monkeypatch.setattr(interop, "LIMIT_S", 0.01)
    row = interop.run("--compare", "llama")
    assert (row["ok"], row["error"]) == (False, "more than 0.01 s")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("print('noise'); print('found: {\"ok\": true}')", {"ok": True}),
        ("print('found: {\"ok\": true}'); raise SystemExit(3)", {"error": "ended with 3"}),
        ("print('only noise')", {"error": "ended with 0"}),
    ],
    ids=["found", "failed", "silent"],
)
def test_what_a_family_says_is_its_row(
    body: str, wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import interop

    script = tmp_path / "family.py"
    script.write_text(body)
    monkeypatch.setattr(interop, "__file__", str(script))
    row = interop.run("--compare", "llama")
    assert (row["mode"], row["name"], row["ok"]) == ("compare", "llama", "error" not in wanted)
    assert wanted.items() <= row.items()


def test_a_whole_run_is_kept_and_takes_its_place_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import interop

    out, page = tmp_path / "interop.json", tmp_path / "vllm.md"
    page.write_text(f"before\n{interop.BEGIN}\nold\n{interop.END}\nafter\n")
    monkeypatch.setattr(interop, "OUT", out)
    monkeypatch.setattr(interop, "PAGE", page)
    lost = {"mode": "compare", "name": "gpt2", "seconds": 1, "ok": False, "error": "ended with 1"}
    for _ in range(2):
        interop.record([ROW, lost])
    said = page.read_text()
    assert said.startswith("before\n") and said.endswith(f"{interop.END}\nafter\n")
    assert "old" not in said and said.count("| llama |") == 1
    assert "| llama | `llama` | 48, 47 | 2.5e-05 | **no** |" in said
    assert "**no**: ended with 1" in said
    kept = json.loads(out.read_text())
    assert kept["rows"][0] == ROW and kept["versions"].keys() == {"torch", "transformers"}
