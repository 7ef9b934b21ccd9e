"""Hostile files and tokenizers, as `make battery` has them."""

from pathlib import Path

import pytest


def test_hostile_files_are_refused_by_name(tmp_path: Path) -> None:
    from battery import hostile, hostile_cases

    for number, (name, case) in enumerate(hostile_cases.cases().items()):
        _, wrong = hostile.tried(name, case, tmp_path / str(number))
        assert not wrong, f"{name}: {wrong}"


def test_no_module_unpickles_or_runs_what_it_is_given() -> None:
    from battery import hostile

    found = {
        str(path): planted
        for path in hostile.SOURCE.rglob("*.py")
        if (planted := hostile.planted_in(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text", ["import pickle", "from joblib import load", "torch.load(p)", "exec(t)",
             "f(trust_remote_code=True)"]
)  # fmt: skip
def test_what_unpickles_or_runs_is_found(text: str) -> None:
    from battery import hostile

    assert hostile.planted_in(text)


def test_what_is_unpickled_is_heard(tmp_path: Path) -> None:
    import pickle

    from battery import hostile, hostile_cases

    _, wrong = hostile.tried(
        "unpickled", lambda home: pickle.loads(hostile_cases.pickled(home)), tmp_path / "a"
    )
    assert wrong.startswith("heard pickle.find_class")
