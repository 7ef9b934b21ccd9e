"""The DPO rows' contenders do the same work: one loss, one gradient, for every kind of model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "initializer_range": 0.3,
}


class FirstStep:
    """Stands in for the harness's gate: lets one step run and keeps what is noted of it."""

    def __init__(self) -> None:
        self.begun = 0
        self.notes: dict[str, float] = {}

    def step(self) -> None:
        from harness import Finished

        self.begun += 1
        if self.begun == 2 and "first_grad_norm" in self.notes:
            raise Finished
        assert self.begun < 3

    def phase(self, name: str) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def note(self, name: str, value: float) -> None:
        self.notes.setdefault(name, value)


def first(contender: Any, folder: str, **settings: Any) -> dict[str, float]:
    from harness import Finished

    gate = FirstStep()
    with pytest.raises(Finished):
        contender(gate, folder, **settings)
    return gate.notes


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
@pytest.mark.parametrize("key_heads", [3, 1])
def test_all_have_one_loss_and_one_gradient(key_heads: int, tmp_path: Path) -> None:
    import preference
    import work

    shape = {**work.SMOLLM2, **SMALL, "num_key_value_heads": key_heads}
    folder = work.write_model(tmp_path / "small", shape)
    sizes = work.PairSizes(batch=3, prompt=5, shortest=2, longest=9, vocabulary=64)
    here = {"sizes": sizes, "batches": 2}
    plain = first(preference.plain, folder, **here)
    ours = first(preference.accord, folder, precision="fp32", **here)
    theirs = first(preference.trl, folder, bf16=False, **preference.TUNED, **here)
    assert plain["first_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert plain["first_grad_norm"] > 0.01
    for notes in (ours, theirs):
        assert notes["first_loss"] == pytest.approx(plain["first_loss"], abs=1e-5)
        assert notes["first_grad_norm"] == pytest.approx(plain["first_grad_norm"], rel=1e-3)


def test_growth_changes_one_size_at_a_time() -> None:
    import work
    from preference_rows import grown

    base = work.STUDY_PAIRS
    found = grown(base)
    assert len(found) == 7
    assert found["batch x4"] == replace(base, batch=32)
    assert found["vocabulary x2"] == replace(base, vocabulary=16_000)
    longer = found["length x4"]
    assert (longer.prompt, longer.shortest, longer.longest) == (256, 256, 512)
    assert (longer.batch, longer.vocabulary) == (base.batch, base.vocabulary)
    pairs = [pair for batch in work.pair_batches(3, longer) for pair in batch]
    assert {len(pair.prompt) for pair in pairs} == {256}
    lengths = [len(r) for pair in pairs for r in (pair.chosen, pair.rejected)]
    assert 256 <= min(lengths) <= max(lengths) <= 512


def test_a_line_is_compared_with_its_own_peer() -> None:
    from harness import Measured, Row
    from tables import columns, from_json, lines, to_json

    row = Row("growth", "Growth", "pairs", (), 1, 2, beside=[("accord, x2", "TRL, x2")])
    measured = {
        "TRL, x2": Measured([0.5, 0.5], [1.0, 1.0]),
        "accord, x2": Measured([4.0, 6.0], [1.0, 1.0]),
    }
    for shown, found in ((row, measured), from_json("growth", to_json(row, measured))):
        assert columns(shown, found)[3] == "x the line above"
        assert [cells[:4] for cells in lines(shown, found)] == [
            ["TRL, x2", "0.50", "0.50 to 0.50", ""],
            ["accord, x2", "5.0", "4.0 to 6.0", "10.0"],
        ]


def test_without_the_package_the_row_says_that_its_weights_are_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import preference_rows
    import work

    monkeypatch.setattr(preference_rows, "PACKAGE", str(tmp_path / "absent.gguf"))
    monkeypatch.setattr(work, "SMOLLM2", {**work.SMOLLM2, **SMALL, "num_key_value_heads": 1})
    folder, what = preference_rows.chat_model(tmp_path / "model")
    assert what.startswith("random weights in the shape of SmolLM2-135M (There is no such file")
    assert (Path(folder) / "config.json").is_file()
