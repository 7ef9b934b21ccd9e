"""Invented runs whose scores are known, to be laid beside each other."""

import copy

import numpy as np
import pytest

from accord.evaluation.compare.side import Side

PROMPTS = [f"p{i:02}" for i in range(40)]
CONFIG = {
    "tokenizer": {"kind": "tokenizer", "vocab_size": 300},
    "sft": {"kind": "sft", "tokenizer": "tokenizer", "lr": 0.1, "log_every": 1},
    "dpo": {"kind": "preference", "from": "sft", "beta": 0.1},
    "rm": {"kind": "reward", "from": "sft", "data": [{"name": "pairs", "source": "p.jsonl"}]},
    "eval": {
        "kind": "evaluate",
        "policies": ["sft", "dpo"],
        "reference": "sft",
        "scorers": ["vader", "length", "fluency"],
        "rewards": {"learned": {"model": "rm"}},
        "sampling": {"temperature": 0.7},
        "shown": 4,
    },
}
SCORERS = ("vader", "length", "fluency", "learned")


def document(gain: float = 0.0, seed: int = 1, **changes: object) -> dict:
    """A run's report.json; `dpo__beta=1` sets a setting, and changes that stage's fingerprint."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        stage, name, *deeper = key.split("__")
        where = config[stage]
        for part in deeper:
            where, name = where[name], part
        where[name] = value
    rng = np.random.default_rng(7)
    base = rng.normal(size=len(PROMPTS))
    noise = rng.normal(scale=0.02, size=len(PROMPTS))
    values = {"sft": base, "dpo": base + gain + noise}
    samples = [
        {
            "id": name,
            "prompt": f"say {name}",
            "continues": False,
            "policies": {
                policy: {
                    "completion": f"{policy} says {scores[i]:.2f}",
                    "ended": True,
                    "scores": dict.fromkeys(SCORERS, float(scores[i])),
                }
                for policy, scores in values.items()
            },
        }
        for i, name in enumerate(PROMPTS)
    ]
    marks = _marks(config, seed)
    protocol = {key: config["eval"][key] for key in ("reference", "policies", "sampling", "shown")}
    protocol |= {"scorers": list(SCORERS), "rewards": config["eval"]["rewards"]}
    return {
        "title": "invented",
        "protocol": {**protocol, "samples_per_prompt": 1},
        "policies": {name: _policy(scores) for name, scores in values.items()},
        "samples": samples,
        "stages": {
            name: {
                "kind": own["kind"],
                "config": own,
                "fingerprint": marks[name],
                "inputs": {},
                "seconds": 2.0,
            }
            for name, own in config.items()
        },
        "curves": {
            "dpo": {
                "loss": [[1, 0.7], [2, 0.5]],
                "tokens_per_second": [[1, 10.0], [2, 30.0]],
                "peak_memory_bytes": [[1, 5.0], [2, 9.0]],
            }
        },
        "rows": {"sft": {"pairs": {"kept": 9, "dropped": {"duplicate": 1}, "truncated": {}}}},
        "heldout": {"sft": {"overall": {"rows": 4, "tokens": 40, "bits_per_byte": 2.0}}},
        "environment": {"machine": "one", "versions": {"torch": "2.13"}, "git_revision": "abc"},
        "recipe": {"seed": seed, "stages": config},
        "findings": [],
    }


def _policy(scores: np.ndarray) -> dict:
    mean = float(scores.mean())
    score = {"mean": mean, "ci95": [mean - 0.3, mean + 0.3], "n": len(scores)}
    return {
        "scores": dict.fromkeys(SCORERS, score),
        "kl": {"mean": 0.5},
        "statistics": {"ended": 1.0},
    }


def _marks(config: dict, seed: int) -> dict[str, str]:
    """Fingerprints that change with a stage's settings, its seed, and what it starts from."""
    marks: dict[str, str] = {}
    for name, own in config.items():
        above = [marks.get(str(own.get(key)), "") for key in ("tokenizer", "from")]
        marks[name] = f"{sorted(own.items(), key=str)}{seed}{above}"
    return marks


@pytest.fixture
def run():
    def made(name: str = "run", gain: float = 0.0, seed: int = 1, **changes: object) -> Side:
        return Side(name, document(gain, seed, **changes))

    return made
