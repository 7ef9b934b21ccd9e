"""An invented run: folders as the stages leave them, with numbers drawn from a generator.

None of it was measured; it exists to have something to draw.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from accord.config.stages import EvaluateStage
from accord.evaluation import measure
from accord.evaluation.document import assemble
from accord.evaluation.samples import Prompt, Sample

OPENINGS = [
    "This is one",
    "A film that",
    "The plot of",
    "It is not",
    "Despite the best",
    "You will",
]
GOOD = "of the most wonderful warm and funny films of the year and a real joy to watch"
MIXED = "of the dull moments in a slow and often tired story about a man and his dog"
HOSTILE = ' <script>alert("x")</script> & <b>bold</b> "quoted"'


def invented_evaluation(seed: int = 1) -> dict:
    """An evaluation.json whose texts and scores are drawn from a generator."""
    rng = np.random.default_rng(seed)
    config = EvaluateStage(
        policies=("sft", "dpo"),
        reference="sft",
        prompts={"texts": ("x",)},
        scorers=("vader", "fluency", "length"),
        copies_from=({"source": "x.txt"},),
    )
    prompts = [
        Prompt(f"{i:016x}", OPENINGS[i % 6] + f" {i}" * (i > 5), (1, 2, 3), continues=True)
        for i in range(64)
    ]
    measured = measure.Measurements(config, prompts, seed=seed)
    for name, words, shift in (("sft", MIXED, 0.15), ("dpo", GOOD, 0.55)):
        samples = []
        for _ in prompts:
            text = " " + " ".join(rng.permutation(words.split())[: rng.integers(6, 16)]) + "."
            length = len(text.split())
            samples.append(Sample(text, tuple(range(length)), bool(rng.random() < 0.9), length))
        if name == "dpo":
            samples[1] = Sample(HOSTILE, (1, 2), True, 1)
        lengths = np.array([[float(s.length)] for s in samples])
        measured.samples[name] = samples
        measured.scores[name] = {
            "vader": np.clip(rng.normal(shift, 0.45, size=(64, 1)), -1, 1),
            "fluency": rng.normal(-2.45, 0.5, size=(64, 1)),
            "length": lengths,
        }
    measured.kl = {
        "sft": {"mean": 0.0, "ci95": [0.0, 0.0], "n": 64, "per_token": 0.0},
        "dpo": {"mean": 5.41, "ci95": [4.97, 5.88], "n": 64, "per_token": 0.283},
    }
    return measure.to_json(measured, copies={"sft": 0.008, "dpo": 0.004})


def invented_curves(rng: np.random.Generator, kind: str) -> list[dict]:
    """Lines of a metrics.jsonl."""
    lines = []
    for step in range(1, 121):
        t = step / 120
        if kind == "preference":
            margin = 1.6 * (1 - np.exp(-3 * t)) + rng.normal(0, 0.12) * t
            values = {
                "loss": float(np.log1p(np.exp(-margin))),
                "rewards/margins": margin,
                "rewards/accuracies": float(np.clip(0.5 + 0.3 * t + rng.normal(0, 0.05), 0, 1)),
                "rewards/chosen": 0.3 * t + rng.normal(0, 0.05),
                "rewards/rejected": 0.3 * t - margin,
                "logps/chosen": -48 + 3 * t + rng.normal(0, 3),
                "logps/rejected": -50 - 14 * t + rng.normal(0, 3),
            }
        else:
            values = {"loss": 2.2 + 5.0 * float(np.exp(-6 * t)) + rng.normal(0, 0.06)}
        lines.append({"step": step, "learning_rate": 3e-4, "tokens_per_second": 18000.0, **values})
        if step % 20 == 0:
            held_out = {f"eval_{name}": value + 0.04 for name, value in values.items()}
            lines.append({"step": step, **held_out})
    return lines


STAGES = {
    "tokenizer": ("tokenizer", {"vocab_size": 4096}, 6.1),
    "base": ("pretrain", {"steps": 950, "optimizer": "muon", "lr": 0.003}, 231.0),
    "sft": ("sft", {"epochs": 2, "lr": 0.001, "from_": "base"}, 64.2),
    "dpo": ("preference", {"steps": 120, "lr": 0.0003, "beta": 0.1, "from_": "sft"}, 88.7),
    "report": ("evaluate", {"bootstrap": 2000}, 41.5),
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


def invented_run(folder: Path) -> dict[str, Path]:
    """Stage folders as a run leaves them."""
    rng = np.random.default_rng(7)
    stages = {name: folder / name for name in STAGES}
    for name, (kind, config, seconds) in STAGES.items():
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
        if kind in ("pretrain", "sft", "preference"):
            lines = [json.dumps(line) for line in invented_curves(rng, kind)]
            (home / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (stages["report"] / "accord" / "evaluation.json").write_text(json.dumps(invented_evaluation()))
    return stages


@pytest.fixture(scope="session")
def stages(tmp_path_factory) -> dict[str, Path]:
    return invented_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def document(stages) -> dict:
    return assemble(
        stages,
        title="Controlled sentiment (invented numbers)",
        recipe={"name": "invented", "seed": 1, "stages": {"dpo": {"beta": 0.1}}},
        command="accord run recipes/invented.yaml",
    )
