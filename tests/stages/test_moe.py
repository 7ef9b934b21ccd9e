"""Mixtures of experts in every kind of training: the router's losses are part of each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from left import SHAPE, log, weights
from torch import Tensor

from accord.checkpoint.folder import load_config, load_model, save_model
from accord.config.model import ModelConfig
from accord.model.decoder import Decoder
from accord.model.moe import moe_layers
from accord.text.tokenizer import Tokenizer

COMMON: dict[str, Any] = {
    "heldout": {"fraction": 0.2},
    "steps": 1,
    "batch_size": 4,
    "max_length": 128,
    "lr": 1e-3,
}
STORIES = {"data": [{"source": "stories.jsonl", "name": "stories"}]}
PAIRS = {"data": [{"source": "preferences.jsonl", "name": "rows"}]}
REVIEWS = {"data": [{"source": "reviews.tsv", "name": "reviews"}]}
SAMPLED: dict[str, Any] = {
    **REVIEWS,
    "reward": [{"function": "python:left:letters", "weight": 0.1}],
    "rollout": {"first_words": 2, "batches": 1, "sampling": {"max_new_tokens": 8}},
}
KINDS: dict[str, dict[str, Any]] = {
    "pretrain": {"kind": "pretrain", **STORIES},
    "sft": {"kind": "sft", **PAIRS},
    "reward": {"kind": "reward", **PAIRS, "baseline": False},
    "preference": {"kind": "preference", **PAIRS},
    "kto": {"kind": "preference", **PAIRS, "loss": "kto"},
    "ppo": {"kind": "ppo", **SAMPLED},
    "grpo": {"kind": "grpo", **SAMPLED, "num_generations": 3},
    "online": {"kind": "online", **SAMPLED, "num_generations": 3},
}
ROUTER = {"aux_loss", "z_loss", "router/entropy", "router/load_max", "router/load_min"}


@pytest.fixture(scope="module")
def mixture_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.load(model_folder)
    config = ModelConfig(vocab_size=len(tokenizer), num_experts=4, router_z_loss_coef=0.01, **SHAPE)
    decoder = Decoder.init(config, 3)
    folder = tmp_path_factory.mktemp("moe")
    save_model(decoder, folder, tokenizer)
    return folder


def routers(folder: Path) -> list[Tensor]:
    return [weight for name, weight in weights(folder).items() if "gate.weight" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_moe_auxiliary_loss_is_not_dropped(kind: str, mixture_folder: Path, run) -> None:
    left = []
    for coef in (0.0, 20.0):
        settings = {**COMMON, **KINDS[kind], "from": str(mixture_folder)}
        settings |= {"router_aux_loss_coef": coef, "max_grad_norm": None}
        out = run(settings, f"coef {coef:g}")
        line = log(out)[0]
        assert line.keys() >= ROUTER
        assert line["aux_loss"] > 0 and line["z_loss"] > 0
        assert line["router/dropped"] == 0.0
        left.append((routers(out), line))
    # the first step's own figures are alike, and where it went is not
    (without, plain), (with_it, pulled) = left
    assert plain["loss"] == pulled["loss"]
    assert plain["aux_loss"] == pulled["aux_loss"]
    assert pulled["grad_norm"] > plain["grad_norm"]
    assert all(not torch.equal(a, b) for a, b in zip(without, with_it, strict=True))


def test_both_sides_of_a_pair_are_routed_and_the_reference_is_not(
    mixture_folder: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accord.train.routing import RouterLosses

    tokens: list[int] = []
    plain = RouterLosses.tally

    def counting(self: Any, seen: Any, weight: Tensor) -> Any:
        tokens.append(sum(len(routed.logits_NE) for routed in seen[0][0]))
        return plain(self, seen, weight)

    monkeypatch.setattr(RouterLosses, "tally", counting)
    out = run({**COMMON, **KINDS["preference"], "from": str(mixture_folder)})
    # every token of the step's stream, prompts once and both responses, and none else
    assert tokens == [log(out)[0]["num_tokens"]]


def test_what_is_trained_loads_as_a_mixture(mixture_folder: Path, run) -> None:
    out = run({**COMMON, **KINDS["sft"], "from": str(mixture_folder)})
    assert load_config(out) == load_config(mixture_folder)
    assert load_config(out).router_z_loss_coef == 0.01
    assert len(moe_layers(load_model(out))) == 2
