"""Every key of every stage's settings, read off the models."""

from typing import get_args

from pydantic import BaseModel

from accord.config.data import HeldoutConfig, JudgedPairs, RatedPairs, SampledPairs, SourceConfig
from accord.config.generate import SamplingConfig
from accord.config.lora import LoRAConfig
from accord.config.model import ModelConfig
from accord.config.preference import LossSettings, PreferenceStage
from accord.config.recipe import Recipe
from accord.config.reward import RatedGroups
from accord.config.rewards import RewardTerm, RolloutConfig
from accord.config.stages import BestOf, PromptsConfig, StageConfig
from accord.explain.keys import Key, recipe_keys, stage_models, written
from accord.report.glossary import KEYS

NESTED = (
    SourceConfig, HeldoutConfig, RatedPairs, SampledPairs, JudgedPairs, SamplingConfig, LoRAConfig,
    RatedGroups, RewardTerm, RolloutConfig, PromptsConfig, BestOf, ModelConfig, LossSettings,
)  # fmt: skip

CHIEF = (
    "TrainConfig.lr", "TrainConfig.batch_size", "TrainConfig.micro_batch_size",
    "TrainConfig.micro_batch_tokens", "TrainConfig.max_length", "TrainConfig.epochs",
    "TrainConfig.steps", "TrainConfig.optimizer", "TrainConfig.weight_decay",
    "TrainConfig.max_grad_norm", "TrainConfig.schedule", "TrainConfig.warmup_ratio",
    "TrainConfig.warmup_steps", "TrainConfig.precision", "TrainConfig.eval_every",
    "LossSettings.loss", "LossSettings.beta", "LossSettings.label_smoothing",
    "LossSettings.margin_cap", "LossSettings.ld_alpha", "LossSettings.weighting",
    "LossSettings.f_divergence_type", "LossSettings.simpo_gamma", "LossSettings.cpo_alpha",
    "PreferenceStage.sync_ref_model", "PreferenceStage.desirable_weight",
    "PreferenceStage.undesirable_weight", "LoRAConfig.r", "LoRAConfig.lora_alpha",
    "LoRAConfig.target_modules", "RatedPairs.gap", "RatedPairs.length_ratio",
    "PPOStage.kl_coef", "PPOStage.kl_target", "PPOStage.lam", "PPOStage.cliprange",
    "PPOStage.vf_coef", "PPOStage.entropy_coef", "PPOStage.critic_from", "GRPOStage.beta",
    "GRPOStage.num_generations", "GRPOStage.epsilon", "GRPOStage.epsilon_high",
    "GRPOStage.loss_type", "GRPOStage.scale_rewards", "GRPOStage.dynamic_sampling",
    "OnlineStage.num_generations", "RolloutConfig.iterations", "RolloutConfig.batches",
    "SamplingConfig.temperature", "SamplingConfig.top_p", "SamplingConfig.max_new_tokens",
    "HeldoutConfig.fraction", "SourceConfig.fraction", "SourceConfig.weight",
    "RewardStage.centering", "RatedGroups.regression", "EvaluateStage.samples_per_prompt",
    "BestOf.n", "JudgedPairs.samples", "JudgedPairs.label", "JudgedPairs.prompts",
)  # fmt: skip


def keys_of(stage: str) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for key in recipe_keys():
        if key.stage == stage:
            found.setdefault(key.path, []).append(key)
    return found


def test_every_kind_of_stage_is_walked():
    kinds = {m.model_fields["kind"].default for m in get_args(get_args(StageConfig)[0])}
    assert set(stage_models()) == kinds == {key.stage for key in recipe_keys()} - {"recipe"}
    assert "seed" in keys_of("recipe") and "stages" in keys_of("recipe")


def test_no_key_of_any_model_is_missed():
    for kind, model in {**stage_models(), "recipe": Recipe}.items():
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert fields <= set(keys_of(kind)), kind
    owners = {(key.owner, key.name) for key in recipe_keys()}
    for model in NESTED:
        assert {(model.__name__, f.alias or n) for n, f in model.model_fields.items()} <= owners
    paths = (
        "beta", "from", "lora.r", "pairs.gap", "pairs.rejected_sampling.top_p", "data.fraction",
        "data.options.digits", "heldout.salt", "micro_batch_tokens",
    )  # fmt: skip
    assert set(paths) <= set(keys_of("preference"))
    assert "rollout.sampling.temperature" in keys_of("ppo")
    assert "model.hidden_size" in keys_of("pretrain")
    assert "reward.options.pattern" in keys_of("grpo")
    assert "rewards.weight" in keys_of("evaluate")


def test_every_key_says_what_it_is():
    assert [(k.stage, k.path) for k in recipe_keys() if not k.doc] == []
    assert [(k.stage, k.path) for k in recipe_keys() if "\n" in k.doc] == []


def test_the_model_that_writes_a_key_is_its_owner():
    [beta] = keys_of("preference")["beta"]
    [other] = keys_of("grpo")["beta"]
    assert (beta.owner, other.owner) == ("LossSettings", "GRPOStage")
    assert (beta.default, other.default) == ("0.1", "0")
    assert beta.takes == "a number above 0"
    [loss] = keys_of("preference")["loss"]
    assert loss.takes.startswith("one of sigmoid, ") and "mapping" in loss.takes
    assert len(loss.choices) == len(set(loss.choices)) > 20
    [kind] = keys_of("preference")["kind"]
    assert kind.doc == "preference: " + " ".join((PreferenceStage.__doc__ or "").split())


def test_keys_that_matter_have_advice():
    assert len(CHIEF) > 50
    assert [name for name in CHIEF if name not in KEYS] == []


def test_defaults_are_written_as_yaml_has_them():
    told = [None, True, 1e-6, 0.5, 3, (0.9, 0.95), (), "x", HeldoutConfig()]
    assert [written(value) for value in told] == [
        "none", "true", "1e-6", "0.5", "3", "[0.9, 0.95]", "[]", "x", "its own keys' defaults",
    ]  # fmt: skip
    assert all(issubclass(model, BaseModel) for model in stage_models().values())
