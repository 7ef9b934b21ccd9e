"""What is said of a run while it trains: planted faults by name and in time, healthy runs not."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation import live
from accord.evaluation.document import numbers
from accord.evaluation.findings import findings
from accord.evaluation.live import Watch

STEPS, ONSET = 120, 40
CONFIG: dict[str, dict[str, Any]] = {
    "pretrain": {"lr": 3e-4},
    "sft": {"lr": 1e-4},
    "reward": {"lr": 1e-4},
    "preference": {"loss": "sigmoid", "beta": 0.1, "lr": 1e-6},
    "ppo": {"kl_coef": 0.05, "lr": 1e-5},
    "grpo": {"beta": 0.04, "lr": 1e-5},
    "online": {"loss": "sigmoid", "beta": 0.1, "lr": 1e-5},
}
Line = dict[str, float]
Fault = Callable[[int, Line, np.random.Generator], Line]


def supervised(t: float, level: float, noise: Callable[[float], float]) -> Line:
    """Step share t: a loss that falls from `level` by a third."""
    return {
        "loss": level * (1 - 0.33 * (1 - math.exp(-4 * t))) + noise(0.03 * level),
        "mean_token_accuracy": 0.35 + 0.1 * t + noise(0.02),
        "grad_norm": 1.0 + abs(noise(0.3)),
    }


def pairs(t: float, noise: Callable[[float], float]) -> Line:
    rise = 1 - math.exp(-3 * t)
    moved = 1.0 if t else 0.0
    margin = 0.9 * rise + moved * noise(0.1)
    return {
        "loss": math.log1p(math.exp(-margin)) + moved * abs(noise(0.02)),
        "rewards/margins": margin,
        "rewards/chosen": -0.1 * rise + moved * noise(0.03),
        "rewards/rejected": -0.1 * rise - margin,
        "rewards/accuracies": float(np.clip(0.5 + 0.25 * rise + noise(0.08), 0, 1)),
        "logps/chosen": -120.0 + noise(8.0),
        "logps/rejected": -126.0 + noise(8.0),
    }


def rolled(t: float, noise: Callable[[float], float]) -> Line:
    rise, moved = 1 - math.exp(-3 * t), 1.0 if t else 0.0
    return {
        "reward": 1.2 * rise + noise(0.1),
        "reward_std": 0.6 + noise(0.02),
        "judges/vader/mean": 0.2 + 0.3 * rise + noise(0.04),
        "objective/kl": moved * (4.0 * rise + noise(0.1)),
        "unique": 0.96 + noise(0.01),
        "completions/mean_length": 20.0 + 1.5 * rise + noise(0.8),
        "completions/clipped_ratio": 0.08 + abs(noise(0.03)),
        "frac_reward_zero_std": 0.08 + abs(noise(0.05)),
        "sampling/sampling_logp_difference/mean": 0.002 + abs(noise(0.0005)),
        "val/ratio": 1.0 + moved * noise(0.01),
    }


def line_of(kind: str, step: int, rng: np.random.Generator) -> Line:
    """A line of a healthy run of that kind."""
    t = (step - 1) / (STEPS - 1)

    def noise(scale: float) -> float:
        return float(rng.normal(0, scale))

    if kind in ("pretrain", "sft"):
        return supervised(t, 4.0, noise)
    if kind == "reward":
        return {**supervised(t, 0.69, noise), "accuracy": 0.5 + 0.3 * t + noise(0.05)}
    if kind == "preference":
        return pairs(t, noise)
    line = rolled(t, noise)
    if kind == "online":
        return {**line, **pairs(t, noise)}
    entropy = 2.5 - 0.8 * t + noise(0.05)
    if kind == "grpo":
        return {**line, "entropy": entropy, "clip_ratio/region_mean": abs(noise(0.01))}
    critic = {"critic/vf_explained_var": -0.3 + 1.0 * (1 - math.exp(-4 * t)) + noise(0.05)}
    clipped = {"policy/clipfrac_avg": abs(noise(0.03)), "kl_coef": 0.05}
    return {**line, **critic, **clipped, "policy/entropy_avg": entropy}


def watched(kind: str, seed: int, fault: Fault | None = None, **config: Any) -> dict[str, int]:
    """Every finding that was said of a run, with the step; none is said twice."""
    rng = np.random.default_rng(seed)
    watch = Watch(kind, {**CONFIG[kind], "steps": STEPS, **config}, "run")
    said: dict[str, int] = {}
    for step in range(1, STEPS + 1):
        line = line_of(kind, step, rng)
        if fault is not None:
            line = fault(step, line, rng)
        for sentence in watch.see({"step": step, **line}):
            name = sentence.split(" ")[0]
            assert name not in said
            assert f"(step {step:,}): run" in sentence and "Try: " in sentence
            said[name] = step
    return said


@pytest.mark.parametrize("kind", CONFIG)
def test_a_healthy_run_is_left_in_peace(kind):
    said = {seed: found for seed in range(20) if (found := watched(kind, seed))}
    assert said == {}


def ramp(step: int) -> float:
    """0 before the fault sets in, 1 a third of the run later."""
    return float(np.clip((step - ONSET) / 40, 0, 1))


def toward(**targets: float) -> Fault:
    """Metrics that go to these values from the onset on; `__` stands for `/`."""

    def fault(step: int, line: Line, rng: np.random.Generator) -> Line:
        share = ramp(step)
        for name, target in targets.items():
            key = name.replace("__", "/")
            line[key] = (1 - share) * line[key] + share * (target + float(rng.normal(0, 0.01)))
        return line

    return fault


def always(**values: float) -> Fault:
    def fault(step: int, line: Line, rng: np.random.Generator) -> Line:
        return line | {name.replace("__", "/"): value for name, value in values.items()}

    return fault


def spike(step: int, line: Line, rng: np.random.Generator) -> Line:
    return line | {"loss": line["loss"] * 2.5} if step in (50, 80) else line


def standing(step: int, line: Line, rng: np.random.Generator) -> Line:
    return line | {"loss": 2.5 + float(rng.normal(0, 0.004))}


def paid(step: int, line: Line, rng: np.random.Generator) -> Line:
    return line | {"completions/mean_length": 20.0 + 30.0 * line["reward"]}


def obvious(step: int, line: Line, rng: np.random.Generator) -> Line:
    right = 0.9 if step < 3 else 1.0
    return line | {"rewards/accuracies": right, "logps/rejected": -310.0}


def shifted(step: int, line: Line, rng: np.random.Generator) -> Line:
    line["rewards/chosen"] += 1.4
    line["rewards/rejected"] += 1.1
    return line | {"loss": line["loss"] + 0.12}


def skipping(step: int, line: Line, rng: np.random.Generator) -> Line:
    return {"skipped_rows": ["a", "b"]} if step in (30, 31) else line  # type: ignore[dict-item]


def flat(**values: float) -> Fault:
    """No reward is gained; other metrics stand still."""

    def fault(step: int, line: Line, rng: np.random.Generator) -> Line:
        line = always(**values)(step, line, rng)
        return line | {"reward": 0.3 + float(rng.normal(0, 0.05)), "judges/vader/mean": 0.2}

    return fault


OUT, LATE = (ONSET, ONSET + 60), (int(live.LATE * STEPS), STEPS)
FIRST = (1, 1)
PLANTED: list[tuple[str, str, Fault, tuple[int, int], dict[str, Any]]] = [
    ("margin_explosion", "preference", toward(rewards__margins=30.0), OUT, {}),
    ("margin_explosion", "online", toward(rewards__margins=30.0), OUT, {}),
    ("loss_saturated", "preference", toward(loss=0.0, rewards__accuracies=1.0), (80, STEPS), {}),
    ("loss_saturated", "sft", toward(loss=0.0, mean_token_accuracy=1.0), (80, STEPS), {}),
    ("chosen_fell", "preference", toward(rewards__chosen=-4.0), OUT, {}),
    (
        "policy_did_not_move",
        "preference",
        always(rewards__margins=0.0004, rewards__chosen=0.0002, loss=0.6929),
        LATE,
        {"lr": 1e-7},
    ),
    ("policy_did_not_move", "grpo", flat(objective__kl=0.001), LATE, {"lr": 1e-9}),
    ("reward_did_not_rise", "ppo", flat(), LATE, {}),
    ("loss_did_not_fall", "sft", standing, LATE, {"lr": 1e-9}),
    ("wrong_reference", "preference", shifted, FIRST, {}),
    ("wrong_reference", "grpo", always(objective__kl=9.0), FIRST, {}),
    ("groups_without_spread", "grpo", toward(frac_reward_zero_std=0.95, unique=0.3), OUT, {}),
    ("entropy_lost", "grpo", toward(entropy=0.05), OUT, {}),
    ("entropy_lost", "ppo", toward(policy__entropy_avg=0.05), OUT, {}),
    ("kl_runaway", "ppo", toward(objective__kl=60.0), OUT, {}),
    ("kl_over_target", "ppo", toward(objective__kl=6.0), OUT, {"kl_target": 1.5}),
    ("kl_over_constrained", "ppo", flat(objective__kl=0.06, kl_coef=5.0), LATE, {"kl_coef": 5.0}),
    ("kl_over_constrained", "grpo", flat(objective__kl=0.06), LATE, {"beta": 3.0}),
    ("length_drift", "grpo", paid, (10, STEPS), {}),
    ("rollouts_repeat", "online", toward(unique=0.2), OUT, {}),
    ("over_optimised", "ppo", toward(judges__vader__mean=-0.6), (ONSET, STEPS), {}),
    ("truncation_dominates", "grpo", toward(completions__clipped_ratio=0.9), OUT, {}),
    ("no_end_token", "ppo", always(completions__clipped_ratio=1.0), LATE, {}),
    ("critic_explains_nothing", "ppo", always(critic__vf_explained_var=-0.4), LATE, {}),
    ("steps_too_large", "grpo", toward(val__ratio=1.5), OUT, {}),
    ("steps_too_large", "ppo", toward(policy__clipfrac_avg=0.6), OUT, {}),
    ("ratio_not_one", "ppo", always(val__ratio=1.3), FIRST, {}),
    ("sampler_differs", "grpo", always(**{"sampling__sampling_logp_difference__mean": 0.2}),
     (10, 20), {}),
    ("loss_spikes", "sft", spike, (50, 65), {}),
    ("loss_diverged", "preference", toward(loss=4.0), OUT, {}),
    ("loss_diverged", "pretrain", toward(loss=9.0), OUT, {}),
    ("steps_skipped", "sft", skipping, (30, 30), {}),
    ("format_only_preference", "preference", obvious, (10, 25), {}),
    ("forgetting", "preference", always(nll_loss=2.0), OUT, {}),
]  # fmt: skip


def _rising(step: int, line: Line, rng: np.random.Generator) -> Line:
    return line | {"nll_loss": 2.0 + 1.5 * ramp(step) + float(rng.normal(0, 0.05))}


@pytest.mark.parametrize(
    ("name", "kind", "fault", "window", "config"),
    PLANTED,
    ids=[f"{name}-{kind}" for name, kind, *_ in PLANTED],
)
def test_a_planted_fault_is_said_once_and_in_time(name, kind, fault, window, config):
    fault = _rising if name == "forgetting" else fault
    for seed in range(3):
        said = watched(kind, seed, fault, **config)
        assert name in said, said
        assert window[0] <= said[name] <= window[1], said


@pytest.mark.parametrize(("kind", "fault", "config"), [(k, f, c) for _, k, f, _, c in PLANTED])
def test_every_finding_has_its_steps(kind, fault, config):
    rng = np.random.default_rng(9)
    curves: dict[str, list[list[float]]] = {}
    for step in range(1, STEPS + 1):
        for metric, value in numbers(fault(step, line_of(kind, step, rng), rng)).items():
            curves.setdefault(metric, []).append([step, value])
    settings = {**CONFIG[kind], **config, "kind": kind}
    stages = {"run": {"kind": kind, "config": settings}}
    found = findings({"stages": stages, "curves": {"run": curves}})
    assert [f for f in found if f["severity"] != "info"] or fault is PLANTED[-1][2]
    for finding in found:
        if finding["severity"] != "info":
            evidence = finding["evidence"]
            steps = evidence.get("steps", [evidence.get("step")])
            assert len(steps) in (1, 2) and 1 <= min(steps) <= max(steps) <= STEPS, finding


def test_it_says_no_more_than_the_report():
    """The rules are the report's: the finished curves give every finding that was said."""
    rng, lines = np.random.default_rng(5), []
    watch = Watch("preference", {**CONFIG["preference"], "steps": STEPS}, "run")
    said: list[str] = []
    for step in range(1, STEPS + 1):
        line = toward(rewards__margins=30.0, loss=0.0, rewards__accuracies=1.0)(
            step, line_of("preference", step, rng), rng
        )
        lines.append({"step": step, **line})
        said += watch.see(lines[-1])
    curves = {m: [[line["step"], line[m]] for line in lines] for m in lines[0] if m != "step"}
    stages = {"run": {"kind": "preference", "config": CONFIG["preference"]}}
    report = findings({"stages": stages, "curves": {"run": curves}})
    names = {f["name"] for f in report if f["severity"] != "info"}
    assert {sentence.split(" ")[0] for sentence in said} == names
    assert {"margin_explosion", "loss_saturated"} <= names


def test_what_stands_in_one_check_alone_is_not_said():
    def once(step: int, line: Line, rng: np.random.Generator) -> Line:
        return line | {"rewards/margins": 60.0} if step == 26 else line

    assert watched("preference", 1, once) == {}

    def twice(step: int, line: Line, rng: np.random.Generator) -> Line:
        return line | {"rewards/margins": 60.0} if 26 <= step <= 31 else line

    assert watched("preference", 1, twice) == {"margin_explosion": 31}


def test_few_checks_are_made_of_a_long_run(monkeypatch):
    checks = []
    monkeypatch.setattr(live, "findings", lambda document: checks.append(1) or [])
    watch = Watch("sft", {"steps": 20_000})
    for step in range(1, 20_001):
        watch.see({"step": step, "loss": 1.0})
    assert len(checks) < 160
    assert max(map(len, watch._curves.values())) <= live.POINTS
    assert watch._curves["loss"][0][0] == 1 and watch._curves["loss"][-1][0] == 20_000


def test_a_fault_of_the_diagnosis_does_not_end_the_run(monkeypatch):
    def fails(document):
        raise ZeroDivisionError("of a check")

    monkeypatch.setattr(live, "findings", fails)
    watch = Watch("sft", {"steps": 50})
    said = [s for step in range(1, 51) for s in watch.see({"step": step, "loss": 1.0})]
    assert said == ["the diagnosis stopped at step 1: ZeroDivisionError('of a check')"]


def test_an_escaped_step_waits_for_no_second_check():
    watch = Watch("preference", {"steps": 100, "beta": 0.1})
    wrong = {"rewards/chosen": 3.0, "rewards/rejected": -2.0, "rewards/margins": 5.0, "loss": 0.3}
    [sentence] = watch.see({"step": 1, **wrong})
    assert re.match(r"wrong_reference \(step 1\): preference's reference is not", sentence)
    assert watch.see({"step": 2, **wrong}) == []


NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 1.0, 1e-100, 1e100])
)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(CONFIG)), st.lists(NUMBERS, min_size=12, max_size=30), st.data())
def test_no_numbers_stop_the_diagnosis(kind, values, data):
    watch = Watch(kind, {**CONFIG[kind], "steps": len(values)})
    names = sorted(line_of(kind, 1, np.random.default_rng(0)))
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    for step, value in enumerate(values, start=1):
        said = watch.see({"step": step, **dict.fromkeys(chosen, value), "skipped_rows": None})
        assert not [sentence for sentence in said if "the diagnosis stopped" in sentence]
