from pathlib import Path

import pytest
import torch
import train_toy as toy

from accord.train.blocks import find_blocks, wrapped
from accord.train.metrics import read_log


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder / "accord" / "metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns about itself
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_train_alike_and_leave_no_trace(
    tmp_path: Path, checkpointing: bool
) -> None:
    """Batches differ in length, so that shapes change under the compiler's feet."""
    toy.train(tmp_path / "eager", {})
    toy.train(tmp_path / "compiled", {"compile": True, "gradient_checkpointing": checkpointing})
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), rel=1e-5)


def test_without_a_compiler_there_is_one_plain_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as inductor

    if torch.cuda.is_available():
        pytest.skip("a GPU needs no C++ compiler")
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    warnings: list[str] = []
    model = toy.model()
    with wrapped(find_blocks(model).values(), toy.config(compile=True), warnings.append):
        assert "forward" not in model.layers[0].__dict__
    assert warnings == [
        "compile: no C++ compiler found (g++ or clang++); going on without torch.compile"
    ]


def test_wrapping_is_undone_also_after_an_error() -> None:
    model = toy.model()
    chosen = toy.config(gradient_checkpointing=True)
    with pytest.raises(KeyError), wrapped(find_blocks(model).values(), chosen, print):
        assert "forward" in model.layers[0].__dict__
        raise KeyError
    assert "forward" not in model.layers[0].__dict__


def test_checkpointing_keeps_activations_of_no_block() -> None:
    """Between forward and backward only the blocks' inputs are held."""

    def saved(**settings: object) -> int:
        model, kept = toy.model(), []
        rows = toy.Rows(1, 8)
        pack = lambda t: (kept.append(t.numel()), t)[1]  # noqa: E731
        seen = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
        with wrapped(find_blocks(model).values(), toy.config(**settings), print), seen:
            toy.step(model, rows.collate(rows.rows(0)))
        return sum(kept)

    assert saved(gradient_checkpointing=True) < 0.5 * saved()


def test_nothing_is_wrapped_unless_it_is_asked_for() -> None:
    model = toy.model()
    with wrapped(find_blocks(model).values(), toy.config(), print):
        assert "forward" not in model.layers[0].__dict__
