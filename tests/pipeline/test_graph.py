"""Orders of stages."""

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.stages import SFTStage
from accord.pipeline.graph import order


def stage(source: str) -> SFTStage:
    return SFTStage.model_validate({"from": source, "steps": 1, "data": [{"source": "x"}]})


@st.composite
def forests(draw):
    """Stages in any order, each starting from an earlier number or from a folder."""
    count = draw(st.integers(1, 8))
    parents = [draw(st.sampled_from([*range(i), None])) for i in range(count)]
    names = draw(st.permutations(range(count)))
    return {f"s{i}": stage("folder" if parents[i] is None else f"s{parents[i]}") for i in names}


@settings(deadline=None, max_examples=60)
@given(forests())
def test_every_stage_comes_once_and_after_its_input(stages):
    names = order(stages)
    assert sorted(names) == sorted(stages)
    for name in names:
        source = stages[name].from_
        assert source == "folder" or names.index(source) < names.index(name)


@settings(deadline=None, max_examples=60)
@given(forests())
def test_one_stage_needs_its_ancestors_and_no_more(stages):
    for name in stages:
        ancestors, at = [name], name
        while (at := stages[at].from_) in stages:
            ancestors.append(at)
        assert order(stages, name) == ancestors[::-1]


def test_free_stages_keep_the_order_they_are_written_in():
    assert order({"b": stage("x"), "a": stage("x"), "c": stage("a")}) == ["b", "a", "c"]
