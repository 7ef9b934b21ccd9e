"""An invented run: folders as the stages leave them, with numbers drawn from a generator.

None of it was measured; it exists to have something to draw.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accord.config.stages import EvaluateStage
from accord.evaluation import measure
from accord.evaluation.findings.rollouts import KINDS
from accord.evaluation.samples import Prompt, Sample

OPENINGS = [
    "This is one",
    "A film that",
    "The plot of",
    "It is not",
    "Despite the best",
    "You will",
]
WORDS = {
    "sft": "of the dull moments in a slow and often tired story about a man and his dog",
    "dpo": "of the most wonderful warm and funny films of the year and a real joy to watch",
    "ppo": "is a delightful and moving film with great heart and a cast that shines",
    "grpo": "is a compelling comedy",
    "online": "is a charming film that is both smart and tender and very well acted",
}
SCORES = {  # mean vader, mean learned reward, KL
    "sft": (0.15, -0.2, 0.0),
    "dpo": (0.55, 0.9, 5.41),
    "ppo": (0.58, 1.3, 6.2),
    "grpo": (0.63, 2.6, 21.4),
    "online": (0.49, 1.0, 4.4),
}
HOSTILE = ' <script>alert("x")</script> & <b>bold</b> "quoted"'


def invented_evaluation(policies: tuple[str, ...], seed: int = 1) -> dict:
    """An evaluation.json whose texts and scores are drawn from a generator."""
    rng = np.random.default_rng(seed)
    learned = ("learned",) if len(policies) > 2 else ()
    config = EvaluateStage(
        policies=policies,
        reference="sft",
        prompts={"texts": ("x",)},
        scorers=("vader", "fluency", "length"),
        rewards={label: {"model": "rm"} for label in learned},
        copies_from=({"source": "x.txt"},),
    )
    prompts = [
        Prompt(f"{i:016x}", OPENINGS[i % 6] + f" {i}" * (i > 5), (1, 2, 3), continues=True)
        for i in range(64)
    ]
    measured = measure.Measurements(config, prompts, seed=seed)
    for name in policies:
        vader, reward, kl = SCORES[name]
        samples = []
        for _ in prompts:
            words = WORDS[name].split()
            text = " " + " ".join(rng.permutation(words)[: rng.integers(6, 16)]) + "."
            text = f" {WORDS[name]}." if name == "grpo" and rng.random() < 0.7 else text
            length = len(text.split())
            samples.append(Sample(text, tuple(range(length)), bool(rng.random() < 0.9), length))
        if name == "dpo":
            samples[1] = Sample(HOSTILE, (1, 2), True, 1)
        lengths = np.array([[float(s.length)] for s in samples])
        measured.samples[name] = samples
        measured.scores[name] = {
            "vader": np.clip(rng.normal(vader, 0.45, size=(64, 1)), -1, 1),
            "fluency": rng.normal(-2.45, 0.5, size=(64, 1)),
            "length": lengths,
            **{label: rng.normal(reward, 0.8, size=(64, 1)) for label in learned},
        }
        spread = [kl * 0.92, kl * 1.08]
        measured.kl[name] = {"mean": kl, "ci95": spread, "n": 64, "per_token": kl / 19}
    return measure.to_json(measured, copies=dict.fromkeys(policies, 0.004))


def invented_curves(rng: np.random.Generator, kind: str) -> list[dict]:
    """Lines of a metrics.jsonl."""
    lines = []
    for step in range(1, 121):
        t = step / 120
        if kind == "preference":
            moved = float(step > 1)  # before the first update the policy is its reference
            margin = moved * 1.6 * (1 - np.exp(-3 * t)) + rng.normal(0, 0.12) * t * moved
            values = {
                "loss": float(np.log1p(np.exp(-margin))),
                "rewards/margins": margin,
                "rewards/accuracies": float(np.clip(0.5 + 0.3 * t + rng.normal(0, 0.05), 0, 1)),
                "rewards/chosen": moved * (0.3 * t + rng.normal(0, 0.05)),
                "rewards/rejected": moved * 0.3 * t - margin,
                "logps/chosen": -48 + 3 * t + rng.normal(0, 3),
                "logps/rejected": -50 - 14 * t + rng.normal(0, 3),
            }
        elif kind == "reward":
            accuracy = 0.5 + 0.37 * (1 - float(np.exp(-5 * t))) + rng.normal(0, 0.03)
            values = {"loss": 0.3 + 0.4 * float(np.exp(-5 * t)), "accuracy": accuracy}
        else:
            values = {"loss": 2.2 + 5.0 * float(np.exp(-6 * t)) + rng.normal(0, 0.06)}
        lines.append({"step": step, "learning_rate": 3e-4, "tokens_per_second": 18000.0, **values})
        if step % 20 == 0:
            held_out = {f"eval_{name}": value + 0.04 for name, value in values.items()}
            lines.append({"step": step, **held_out})
    return lines


def invented_roll_outs(rng: np.random.Generator, kind: str) -> list[dict]:
    """Lines of a policy stage's metrics.jsonl, with a roll-out at every second step.

    The one of `grpo` goes wrong: its judge falls while its reward rises, and it collapses.
    """
    wrong, lines = kind == "grpo", []
    for step in range(1, 121):
        t = step / 120
        line = {"step": step, "loss": rng.normal(0, 0.02), "learning_rate": 1e-4}
        if kind == "ppo":
            line |= {"policy/clipfrac_avg": 0.08 * t, "val/ratio": 1 + rng.normal(0, 0.004)}
            line |= {"policy/entropy_avg": 2.5 - 0.6 * t + rng.normal(0, 0.03)}
            line |= {"critic/vf_explained_var": 0.6 - 0.9 * float(np.exp(-6 * t))}
        if kind == "grpo":
            line |= {"entropy": 2.5 - 2.2 * t + rng.normal(0, 0.03), "clip_ratio/region_mean": 0.01}
        if kind == "online":
            margin = float(step > 1) * (1.2 * t + rng.normal(0, 0.1))
            line |= {"rewards/margins": margin, "rewards/accuracies": 0.7}
            line["loss"] = float(np.log1p(np.exp(-margin)))
        if step % 2:
            rise = 1 - float(np.exp(-4 * t))
            judge = 0.2 + 0.35 * rise - wrong * 0.9 * max(0.0, t - 0.45)
            line |= {
                "reward": -0.2 + 1.5 * rise + wrong * 1.4 * t + rng.normal(0, 0.12),
                "judges/vader/mean": judge + rng.normal(0, 0.04),
                "objective/kl": (22 if wrong else 6) * t ** (1.5 if wrong else 0.7) + 0.05,
                "unique": 0.99 - wrong * 0.6 * t**2 + rng.normal(0, 0.004),
                "completions/mean_length": 19.0 - wrong * 11 * t + rng.normal(0, 0.4),
                "completions/clipped_ratio": float(abs(rng.normal(0.05, 0.01))),
                "sampling/sampling_logp_difference/mean": 0.001,
            }
            if kind != "ppo":
                line["frac_reward_zero_std"] = float(wrong * 0.6 * t**2)
        lines.append(line)
    return lines


REWARD_HELDOUT = {
    "pairs": 1204,
    "accuracy": 0.8712,
    "ci95": [0.852, 0.889],
    "margin": 1.914,
    "by_length": [
        {"bucket": name, "tokens": tokens, "pairs": 400, "accuracy": share,
         "ci95": [share - 0.03, share + 0.03]}
        for name, tokens, share in (
            ("short", [4, 18], 0.86), ("medium", [19, 29], 0.88), ("long", [30, 61], 0.87))
    ],
    "ece": 0.031,
    "calibration": [{"confidence": 0.72, "accuracy": 0.70, "pairs": 130}],
    "length_correlation": 0.12,
    "rating_correlation": 0.741,
    "rewards": {
        "responses": 828,
        "mean": 0.04,
        "std": 1.61,
        "quantiles": {"5%": -2.5, "25%": -1.2, "50%": 0.03, "75%": 1.3, "95%": 2.6},
        "histogram": {"edges": [-4.0, -2.0, 0.0, 2.0, 4.0], "counts": [98, 310, 322, 98]},
    },
    "baseline": {
        "name": "TF-IDF ridge",
        "rating_correlation": 0.702,
        "accuracy": 0.8651,
        "ci95": [0.846, 0.884],
        "margin_over": 0.0061,
        "margin_over_ci95": [-0.009, 0.021],
    },
}  # fmt: skip
REWARDS = {
    "reward": [{"function": None, "model": "rm", "weight": 1.0}],
    "judges": [{"function": "vader", "model": None, "weight": 1.0}],
    "num_generations": 4,
    "data": [{"source": "hub:owner/prompts:train", "name": "prompts"}],
}
STAGES = {
    "tokenizer": ("tokenizer", {"vocab_size": 4096}, 6.1),
    "base": ("pretrain", {"steps": 950, "optimizer": "muon", "lr": 0.003}, 231.0),
    "sft": ("sft", {"epochs": 2, "lr": 0.001, "from": "base"}, 64.2),
    "rm": ("reward", {"epochs": 2, "lr": 0.0003, "architecture": "causal", "from": "sft"}, 48.3),
    "dpo": ("preference", {"steps": 120, "lr": 0.0003, "beta": 0.1, "from": "sft"}, 88.7),
    "ppo": ("ppo", {"steps": 120, "lr": 0.0001, "kl_coef": 0.05, "from": "sft", **REWARDS}, 71.0),
    "grpo": ("grpo", {"steps": 120, "lr": 0.0001, "beta": 0.0, "from": "sft", **REWARDS}, 66.1),
    "online": ("online", {"steps": 120, "lr": 0.0001, "beta": 0.1, "from": "sft", **REWARDS}, 68.9),
    "report": ("evaluate", {"bootstrap": 2000, "rewards": {"learned": {"model": "rm"}}}, 41.5),
}
ROWS = {
    "base": {
        "stories": {"kept": 1547, "dropped": {"held out": 81}, "truncated": {}},
        "passages": {"kept": 1898, "dropped": {"held out": 102}, "truncated": {}},
    },
    "sft": {
        "movie reviews": {
            "kept": 9870,
            "dropped": {"held out": 530, "shorter than 5 words": 205},
            "truncated": {"longer than 128 tokens": 41},
        }
    },
    "dpo": {
        "movie reviews": {
            "kept": 4400,
            "dropped": {"held out": 530, "chosen equals rejected": 3},
            "truncated": {},
        }
    },
}


SCRIPTS = [
    {
        "script": script,
        "lines": lines,
        "bytes": lines * 90,
        "words": lines * 16,
        "tokens": lines * 24,
        "tokens_per_kb": 1000 * 24 / 90,
        "bytes_per_token": 90 / 24,
        "fertility": 24 / 16,
        "p95_tokens": 61.05,
    }
    for script, lines in (("Latin", 1200), ("Other", 31), ("Overall", 1231))
]


SHORT = ("tokenizer", "base", "sft", "dpo", "report")


def invented_run(folder: Path, names: Sequence[str] = tuple(STAGES)) -> dict[str, Path]:
    """Stage folders as a run of these stages leaves them."""
    rng = np.random.default_rng(7)
    stages = {name: folder / name for name in names}
    for name in names:
        kind, config, seconds = STAGES[name]
        home = stages[name] / "accord"
        home.mkdir(parents=True)
        stage = {
            "name": name,
            "kind": kind,
            "config": {"kind": kind, **config},
            "inputs": {},
            "fingerprint": "0123456789abcdef",
            "versions": {"accord": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
            "git_revision": "b39e4f5",
            "seconds": seconds,
            "environment": {
                "machine": "x86_64",
                "cpu": "an invented processor",
                "cores": 2,
                "threads": 2,
                "memory_bytes": 8 * 2**30,
            },
        }
        (home / "stage.json").write_text(json.dumps(stage))
        if kind == "tokenizer":
            (home / "tokenizer_report.json").write_text(json.dumps(SCRIPTS))
        if name in ROWS:
            (home / "rows.json").write_text(json.dumps(ROWS[name]))
        if kind in ("pretrain", "sft"):
            figures = {"rows": 136, "bytes": 282_715, "tokens": 70_313, "bits_per_byte": 1.677}
            (home / "heldout.json").write_text(json.dumps({"stories": figures}))
        if kind == "reward":
            (home / "heldout.json").write_text(json.dumps(REWARD_HELDOUT))
        if kind not in ("tokenizer", "evaluate"):
            draw = invented_roll_outs if kind in KINDS else invented_curves
            lines = [json.dumps(line) for line in draw(rng, kind)]
            (home / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = invented_evaluation(tuple(name for name in SCORES if name in names))
    (stages["report"] / "accord" / "evaluation.json").write_text(json.dumps(found))
    return stages
