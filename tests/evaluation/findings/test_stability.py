"""The loss of stages trained on given rows, and since when it is what it is."""

import math

import pytest
from planted import course, named, policy_stage

from accord.evaluation.findings import findings
from accord.evaluation.findings.finding import above, below, span

FALLING = (4.0, 3.0, 2.7)


def trained(kind: str = "sft", **curves) -> dict:
    curves = {name.replace("__", "/"): points for name, points in curves.items()}
    stages = {"run": {"kind": kind, "config": {"lr": 1e-4}}}
    return named(findings({"stages": stages, "curves": {"run": curves}}))


def spiked(*steps: int, times: float = 2.0) -> list:
    return [[s, v * (times if s in steps else 1.0)] for s, v in course(*FALLING)]


def test_spikes_have_their_steps():
    evidence = trained(loss=spiked(30, 45))["loss_spikes"]["evidence"]
    assert evidence["spikes"] == [30, 45] and evidence["steps"] == [30, 45]
    assert evidence["step"] == 30  # the higher one


NOISY = [[s, v * (1.6 if s == 30 else 1.0)] for s, v in course(*FALLING, noise=0.4)]


@pytest.mark.parametrize("loss", [course(*FALLING), spiked(30, times=1.2), spiked(3), NOISY])
def test_noise_and_the_first_steps_are_no_spikes(loss):
    assert trained(loss=loss) == {}


def test_a_spike_near_zero_is_none():
    low = [[s, 3.0 / s if s < 20 else 0.004] for s in range(1, 61)]
    low[40][1] = 0.02  # five times its neighbours, and nothing beside the first loss
    assert "loss_spikes" not in trained(loss=low)


def with_update(value: float, level: float, kind: str = "ppo") -> dict:
    doc = policy_stage(kind)
    doc["curves"][kind]["policy/approxkl_avg"] = course(level, level, noise=level / 10)
    doc["curves"][kind]["policy/approxkl_avg"][29][1] = value
    return named(findings(doc))


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online"])
def test_an_update_unlike_all_others(kind):
    found = with_update(4.0, 0.01, kind)["loss_spikes"]
    assert found["evidence"]["steps"] == [30, 30] and found["evidence"]["highest"] == 4.0


@pytest.mark.parametrize(("level", "value"), [(0.01, 0.4), (0.1, 0.9)])
def test_long_tails_of_updates_are_no_spikes(level, value):
    assert "loss_spikes" not in with_update(value, level)


def test_skipped_steps():
    loss = course(*FALLING)
    found = trained(loss=loss, skipped_rows=[[20, 8.0]])["steps_skipped"]
    assert found["severity"] == "warning" and found["evidence"]["steps"] == [20, 20]
    found = trained(loss=loss, skipped_rows=[[20, 8.0], [21, 8.0]])["steps_skipped"]
    assert found["severity"] == "problem" and found["evidence"]["share"] == pytest.approx(2 / 60)


@pytest.mark.parametrize("levels", [(4.0, 7.0, 9.0), (4.0, 2.0, 2.0, 3.0), (0.69, 0.4, 3.0)])
def test_a_loss_that_diverges(levels):
    found = trained(loss=course(*levels))["loss_diverged"]
    assert found["severity"] == "problem"
    first, final = found["evidence"]["steps"]
    assert 1 < first < final == 60


@pytest.mark.parametrize("kind", ["pretrain", "sft", "reward"])
def test_a_loss_that_stands_still(kind):
    found = trained(kind, loss=course(2.5, 2.5, noise=0.005))
    assert found["loss_did_not_fall"]["evidence"]["lr"] == 1e-4
    assert "loss_did_not_fall" not in trained(kind, loss=course(2.5, 2.4, noise=0.005))
    # noise that could hide a fall: nothing is claimed
    assert "loss_did_not_fall" not in trained(kind, loss=course(2.5, 2.5, noise=0.2))


@pytest.mark.parametrize(
    ("kind", "right"),
    [("sft", "mean_token_accuracy"), ("reward", "accuracy"), ("preference", "rewards/accuracies")],
)
def test_a_loss_that_is_used_up(kind, right):
    low, all_right = course(0.7, 0.0, 0.0, noise=0.0), course(0.5, 1.0, 1.0, noise=0.0)
    found = trained(kind, loss=low, **{right: all_right})["loss_saturated"]
    assert 25 <= found["evidence"]["steps"][0] <= 35
    wrong = course(0.5, 0.9, 0.9, noise=0.0)
    assert "loss_saturated" not in trained(kind, loss=low, **{right: wrong})


def test_a_loss_that_comes_down_with_its_schedule_is_not_used_up():
    low = [[s, 0.7 if s <= 48 else 0.01] for s in range(1, 61)]
    right = [[s, 0.8 if s <= 48 else 1.0] for s in range(1, 61)]
    flat = [[s, 1e-4] for s in range(1, 61)]
    cosine = [[s, 1e-4 * (1 + math.cos(math.pi * s / 60)) / 2] for s in range(1, 61)]
    found = trained("reward", loss=low, accuracy=right, learning_rate=flat)["loss_saturated"]
    assert found["evidence"]["spent"] == pytest.approx(0.2, abs=0.05)
    assert "loss_saturated" not in trained("reward", loss=low, accuracy=right, learning_rate=cosine)
    # half of the steps, and a fifth of what the schedule had to give
    early = [[s, 0.7 if s <= 30 else 0.01] for s in range(1, 61)]
    kept = [[s, 0.8 if s <= 30 else 1.0] for s in range(1, 61)]
    assert "loss_saturated" in trained("reward", loss=early, accuracy=kept, learning_rate=cosine)


def test_since_when_by_hand():
    points = [[step, 0.0 if step <= 6 else 5.0] for step in range(1, 11)]
    assert above(points, 1.0) == [7, 10]
    assert below([[s, -v] for s, v in points], -1.0) == [7, 10]
    # ten points to a mean: two of twenty do not end it
    noisy = [[s, 0.0 if s == 35 else 5.0 if s > 20 else 0.0] for s in range(1, 41)]
    assert above(noisy, 1.0)[0] <= 23
    assert above([[4, 1.0]], 0.0) == [4, 4]
    assert above([], 0.0) == span([]) == []
