from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.train import TrainConfig
from accord.train.schedule import factor, warmup_steps

KINDS = st.sampled_from(["constant", "linear", "cosine", "wsd"])
runs = st.builds(
    lambda kind, steps, warmup, floor, decay: TrainConfig(
        steps=steps,
        schedule=kind,
        warmup_steps=min(warmup, steps),
        min_lr_ratio=floor,
        decay_ratio=decay,
    ),
    KINDS,
    st.integers(1, 200),
    st.integers(0, 50),
    st.floats(0, 1),
    st.floats(0.01, 1),
)


def curve(config: TrainConfig) -> list[float]:
    assert config.steps is not None
    return [factor(config, step, config.steps) for step in range(config.steps + 1)]


@given(runs)
@settings(deadline=None)
def test_no_step_is_void_and_none_passes_the_peak(config: TrainConfig) -> None:
    taken = curve(config)[:-1]
    assert all(0 < share <= 1 for share in taken)
    assert taken[0] >= 1 / (warmup_steps(config, len(taken)) + 1) - 1e-12


@given(runs)
@settings(deadline=None)
def test_it_rises_through_warmup_and_never_after(config: TrainConfig) -> None:
    shares = curve(config)
    warmup = warmup_steps(config, len(shares) - 1)
    rise, fall = shares[: warmup + 1], shares[warmup:]
    if warmup < len(shares) - 1:
        assert rise == sorted(rise)
        assert fall[0] == 1.0
    assert fall == sorted(fall, reverse=True)


@given(runs)
@settings(deadline=None)
def test_it_ends_at_the_floor(config: TrainConfig) -> None:
    shares = curve(config)
    if warmup_steps(config, len(shares) - 1) < len(shares) - 1:
        end = 1.0 if config.schedule == "constant" else config.min_lr_ratio
        assert shares[-1] == pytest.approx(end, abs=1e-12)


@given(runs)
@settings(deadline=None)
def test_it_is_continuous(config: TrainConfig) -> None:
    """No step changes the rate by more than its steepest part does by definition."""
    shares = curve(config)
    steps = len(shares) - 1
    warmup = warmup_steps(config, steps)
    decay = max(1, min(round(config.decay_ratio * steps), steps - warmup))
    slopes = {
        "constant": 0.0,
        "linear": 1 / max(1, steps - warmup),
        "cosine": 1.5708 / max(1, steps - warmup),
        "wsd": 1 / decay,
    }
    bound = max(1 / (warmup + 1), slopes[config.schedule] * (1 - config.min_lr_ratio))
    assert all(abs(b - a) <= bound + 1e-9 for a, b in pairwise(shares))


def test_values_by_hand() -> None:
    def at(step: int, **settings: object) -> float:
        config = TrainConfig.model_validate({"steps": 10, "warmup_steps": 0} | settings)
        return factor(config, step, 10)

    assert at(5, schedule="linear") == pytest.approx(0.5)
    assert at(5, schedule="linear", min_lr_ratio=0.2) == pytest.approx(0.6)
    assert at(5, schedule="cosine") == pytest.approx(0.5)
    assert at(5, schedule="cosine", min_lr_ratio=0.1) == pytest.approx(0.55)
    assert at(0, schedule="constant", warmup_steps=4) == pytest.approx(0.2)
    assert at(3, schedule="constant", warmup_steps=4) == pytest.approx(0.8)
    assert [at(s, schedule="wsd", decay_ratio=0.5) for s in (4, 5, 6, 9)] == pytest.approx(
        [1.0, 1.0, 0.8, 0.2]
    )


def test_warmup_ratio_is_of_all_steps() -> None:
    assert warmup_steps(TrainConfig(steps=50, warmup_ratio=0.05), 50) == 3
    assert warmup_steps(TrainConfig(steps=50, warmup_ratio=1.0), 50) == 50
    assert warmup_steps(TrainConfig(steps=50), 50) == 0
    assert warmup_steps(TrainConfig(steps=50, warmup_steps=99), 50) == 50
