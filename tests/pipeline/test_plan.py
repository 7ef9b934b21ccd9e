"""`accord plan`: a recipe's counts, and what is said where they are others."""

from pathlib import Path

import pytest

from accord.config.load import load_recipe
from accord.config.model import ModelConfig
from accord.config.parameters import count_parameters
from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.pipeline.footprint import footprint
from accord.pipeline.plan import in_profile, laid_out, shapes_of, text
from accord.train.blocks import block_matrices

KEURAL = Path(__file__).parents[2] / "recipes" / "keural.yaml"
RECIPE = """
name: small
profiles:
  half: {settings: {base.model.hidden_size: 32, sft.steps: 5}}
  wrong: {parameters: {base: 7}}
  unknown: {parameters: {bass: 7}}
stages:
  tok: {kind: tokenizer, vocab_size: 300, data: [{source: a.jsonl}]}
  base: {kind: pretrain, tokenizer: tok, model: {hidden_size: 64, tie_word_embeddings: false},
         steps: 10, batch_size: 8, max_length: 16, data: [{source: a.jsonl}]}
  sft: {kind: sft, from: base, epochs: 2, batch_size: 6, micro_batch_size: 2, max_length: 32,
        precision: bf16, data: [{source: a.jsonl}]}
  rm: {kind: reward, from: sft, steps: 3, batch_size: 4, max_length: 32, data: [{source: a.jsonl}]}
  away: {kind: sft, from: "hub:some/model", steps: 1, data: [{source: a.jsonl}]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.replace("sft.steps: 5", "sft.batch_size: 12"))
    return path


def test_the_bilingual_mixtures_full_size_is_the_published_one() -> None:
    laid = laid_out(KEURAL, [], "full", ranks=2)
    assert [stage.name for stage in laid.stages] == ["base", "base2", "sft", "dpo"]
    for stage in laid.stages:
        # 131,072 pieces and ChatML's two tokens of 4,096 numbers
        assert stage.total == 14_832_046_080 + 2 * 4096
        assert round(stage.active / 1e9, 2) == 4.87
    dpo = laid.stages[-1]
    assert (dpo.steps, dpo.step_tokens) == (6927, 64 * 2 * 1024)
    base = in_profile(KEURAL, [], "full").stages["base"]
    windows = base.model["sliding_windows"]  # pyright: ignore[reportAttributeAccessIssue]
    assert windows == [513, None] * 12
    assert laid.name == "keural-full" and "14,832,054,272" in text(laid)


def test_counts_follow_from_stage_to_stage(recipe: Path) -> None:
    laid = laid_out(recipe, [])
    found = {stage.name: stage for stage in laid.stages}
    shape = shapes_of(load_recipe(recipe))["base"]
    decoder = Decoder.empty(shape, device="meta")
    count = sum(p.numel() for p in decoder.parameters())
    assert found["base"].total == found["sft"].total == count
    assert found["rm"].total == count - 300 * 64 + 64  # a score in place of the head
    tokens = [found[name].step_tokens for name in ("base", "sft", "rm")]
    assert tokens == [8 * 16, 6 * 32, 2 * 4 * 32]
    assert (found["sft"].steps, found["sft"].epochs) == (None, 2)
    assert laid.unknown == ("away",) and "machine: away" in text(laid)


def test_a_profile_stands_over_the_recipe_and_a_setting_over_it(recipe: Path) -> None:
    half = {stage.name: stage for stage in laid_out(recipe, [], "half").stages}
    assert half["sft"].step_tokens == 12 * 32
    assert (
        half["base"].total == count_parameters(shapes_of(in_profile(recipe, [], "half"))["base"])[0]
    )
    own = {s.name: s for s in laid_out(recipe, ["sft.batch_size=4"], "half").stages}
    assert own["sft"].step_tokens == 4 * 32


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("hal", "did you mean 'half'"),
        ("wrong", "parameters, its profile states 7"),
        ("unknown", "'bass' has no known number of parameters"),
    ],
)
def test_what_does_not_add_up_is_refused(profile: str, told: str, recipe: Path) -> None:
    with pytest.raises(AccordError) as caught:
        laid_out(recipe, [], profile)
    assert told in str(caught.value) + str(caught.value.fix)


def test_bytes_by_hand() -> None:
    shape = ModelConfig(vocab_size=100, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=16)  # fmt: skip
    count = count_parameters(shape).total
    plain = footprint(shape, count, TrainConfig(steps=1), tokens=10, ranks=1)
    assert plain[:3] == (4 * count, 4 * count, 8 * count)
    # a block keeps 3 x 8 + 3 x 8 + 3 x 8 of attention, 8 + 4 x 16 of the feed-forward
    assert plain.activations == 10 * 4 * 2 * (72 + 72)
    half = footprint(shape, count, TrainConfig(steps=1, precision="bf16"), 10, 1)
    assert half == (6 * count, 6 * count, 8 * count, plain.activations // 2)
    checkpointed = TrainConfig(steps=1, gradient_checkpointing=True)
    assert footprint(shape, count, checkpointed, 10, 1).activations == 10 * 4 * (2 * 8 + 144)
    two = footprint(shape, count, TrainConfig(steps=1), 10, 2)
    # half of it, and one of two layers gathered
    assert two == (4 * count, 4 * count, 4 * count, plain.activations)


@pytest.mark.parametrize("experts", [None, 4])
def test_muon_keeps_one_moment_of_what_it_steps(experts: int | None) -> None:
    shape = ModelConfig(vocab_size=100, hidden_size=16, num_attention_heads=2, num_experts=experts)
    count = count_parameters(shape).total
    held = footprint(shape, count, TrainConfig(steps=1, optimizer="muon"), 1, 1)
    model = Decoder.empty(shape, device="meta")
    stepped = sum(model.get_parameter(name).numel() for name in block_matrices(model))
    assert held.optimizer == 4 * (2 * count - stepped)
