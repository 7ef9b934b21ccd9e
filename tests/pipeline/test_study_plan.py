"""What a study would run, known before anything has run."""

from pathlib import Path

import pytest
import yaml

from accord.config.study import load_study
from accord.errors import AccordError
from accord.pipeline.execute import Setting, Task, execute
from accord.pipeline.study_plan import Plan, plan, text


@pytest.fixture
def lay(home, study_recipe):
    """Lay a study of the toy recipe out."""

    def build(variants: dict, seeds: list[int], **more) -> Plan:
        whole = {"name": "lab", "recipe": "recipe.yaml", "seeds": seeds, "variants": variants}
        (home / "study.yaml").write_text(yaml.safe_dump({**whole, **more}, sort_keys=False))
        return plan(load_study(home / "study.yaml"), Path("runs/lab"), home)

    return build


def stage_counts(laid: Plan) -> dict[str, int]:
    names = [node.name for node in laid.nodes.values()]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def finish(laid: Plan, key: str, setting: Setting) -> None:
    """Run one node's stage as `accord run` would, in this process."""
    node = laid.nodes[key]
    inputs = {name: laid.folder(other) for name, other in node.inputs.items()}
    own = Setting(node.seed, setting.base, setting.console, modules=setting.modules)
    execute(Task(node.name, node.config, laid.folder(key), inputs), own)


def test_what_a_variant_or_seed_does_not_reach_is_one_node(lay):
    variants = {"plain": {}, "beta": {"dpo.beta": 0.3}, "hot": {"report.sampling.temperature": 0.5}}
    laid = lay(variants, [1])
    assert stage_counts(laid) == {"tokenizer": 1, "sft": 1, "dpo": 2, "report": 3}
    laid = lay(variants, [1, 2])
    assert stage_counts(laid) == {"tokenizer": 2, "sft": 2, "dpo": 4, "report": 6}
    pinned = {name: {**said, "tokenizer.seed": 1, "sft.seed": 1} for name, said in variants.items()}
    laid = lay(pinned, [1, 2])
    assert stage_counts(laid) == {"tokenizer": 1, "sft": 1, "dpo": 4, "report": 6}
    assert [(cell.variant, cell.seed) for cell in laid.cells[:4]] == [
        ("plain", 1), ("beta", 1), ("hot", 1), ("plain", 2),
    ]  # fmt: skip


def test_settings_without_effect_share_a_stage(lay):
    laid = lay({"plain": {}, "beta": {"dpo.beta": 0.3, "sft.log_every": 7}}, [1])
    assert stage_counts(laid)["sft"] == 1


def test_fingerprints_are_those_that_running_finds(lay, setting):
    laid = lay({"plain": {}, "beta": {"dpo.beta": 0.3}}, [1, 2])
    for count, key in enumerate(laid.nodes):
        assert len(laid.standing()) == count
        finish(laid, key, setting)
        assert laid.stands(laid.nodes[key])


def test_inputs_come_before_what_needs_them(lay):
    laid = lay({"plain": {}, "beta": {"dpo.beta": 0.3}}, [1, 2])
    seen: set[str] = set()
    for key, node in laid.nodes.items():
        assert set(node.inputs.values()) <= seen
        seen.add(key)


def test_the_text_says_what_runs_what_stands_and_what_is_shared(lay, setting):
    laid = lay({"plain": {}, "beta": {"dpo.beta": 0.3}}, [1, 2])
    first = next(iter(laid.nodes))
    finish(laid, first, setting)
    lines = text(laid).splitlines()
    assert lines[0] == ("study lab: 2 variants x 2 seeds = 4 cells, compared by 'report'")
    assert lines[1] == "16 stages in all cells, 12 of them different: 1 stand, 11 to run"
    assert [line.split() for line in lines[3:8]] == [
        ["stage", "to", "run", "stand", "shared", "by"],
        ["tokenizer", "1", "1", "2", "cells"],
        ["sft", "2", "0", "2", "cells"],
        ["dpo", "4", "0", "no", "other", "cell"],
        ["report", "4", "0", "no", "other", "cell"],
    ]
    assert len(lines[9:]) == 11
    assert lines[9].split(None, 2)[::2] == ["run", "for plain/1, beta/1"]
    assert not any(first in line for line in lines)


def test_an_unfinished_stage_goes_on_and_a_whole_study_has_nothing_to_run(
    lay, setting, monkeypatch
):
    laid = lay({"plain": {}}, [1])
    keys = list(laid.nodes)
    finish(laid, keys[0], setting)
    monkeypatch.setenv("TOY_FAILS", "sft")
    with pytest.raises(AccordError, match="the toy broke"):
        finish(laid, keys[1], setting)
    assert f"  go on  {keys[1]}  for plain/1" in text(laid).splitlines()
    monkeypatch.delenv("TOY_FAILS")
    for key in keys[1:]:
        finish(laid, key, setting)
    assert text(laid).splitlines()[-1] == "  nothing to run"


@pytest.mark.parametrize(
    ("variants", "seeds", "said", "where"),
    [
        ({"same": {"dpo.beta": 0.1}}, [1], "'same' changes nothing", "study.yaml:6"),
        ({"log": {"dpo.log_every": 3}}, [1], "'log' changes nothing", "study.yaml:6"),
        ({"a": {}, "b": {"sft.seed": 1}}, [1], "'b' equals variant 'a'", "study.yaml:7"),
        (
            {"a": {"dpo.beta": 0.3}, "b": {"dpo.beta": 0.3}},
            [1, 2],
            "'b' equals variant 'a'",
            "variants.b",
        ),
        (
            {"a": {f"{name}.seed": 1 for name in ("tokenizer", "sft", "dpo", "report")}},
            [1, 2],
            "seeds 1, 2 reach no stage",
            "seeds",
        ),
    ],
)
def test_a_thing_is_not_compared_with_itself(lay, variants, seeds, said, where):
    with pytest.raises(AccordError, match=said) as caught:
        lay(variants, seeds)
    assert where in caught.value.where


def test_missing_data_is_named_before_anything_runs(lay, home):
    (home / "b.jsonl").unlink()
    with pytest.raises(AccordError, match=r"no file 'b\.jsonl'"):
        lay({"plain": {}}, [1])
