"""`accord explain` as it is typed."""

import json
import sys

import pytest

from accord.cli import main as entry


@pytest.fixture
def explain(capsys, monkeypatch):
    """Run `accord explain …`; gives exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "90")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["accord", "explain", *words])
        with pytest.raises(SystemExit) as left:
            entry.main()
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return call


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rewards/margins", "margin_explosion"),
        ("beta", "recipe key of grpo"),
        ("ppo.kl_coef", "InstructGPT"),
        ("rewards/accuracies/source:hh_rlhf", "rows of the source hh_rlhf"),
        ("simpo", "arXiv 2405.14734"),
        ("eval_loss", "overfits"),
    ],
)
def test_a_name_is_explained(explain, name, said):
    code, out, err = explain(name)
    assert (code, err) == (0, "")
    assert said in out
    for label in ("healthy", "otherwise", "try"):
        assert f"\n  {label} " in out or (label == "healthy" and "\n  start " in out)


def test_json_has_every_part(explain):
    code, out, _ = explain("beta", "--json")
    found = json.loads(out)
    assert code == 0
    assert [meaning["stages"] for meaning in found] == [["preference", "online"], ["grpo"]]
    assert {"what", "healthy", "bad", "try_", "default", "takes", "places"} <= set(found[0])


def test_a_typo_is_a_mistake_of_usage(explain):
    code, out, err = explain("rewards/margin")
    assert (code, out) == (entry.MISTAKE, "")
    assert "did you mean 'rewards/margins'?" in err


def test_no_name_lists_all(explain):
    code, out, _ = explain()
    assert code == 0
    words = set(out.split())
    assert {"rewards/margins", "kl_coef", "simpo", "temperature", "grad_norm"} <= words
    assert set(json.loads(explain("--json")[1])) >= {"training", "preference", "losses"}


def test_all_is_the_page(explain):
    code, out, _ = explain("--all")
    assert code == 0 and out.startswith("# Metrics and settings")
