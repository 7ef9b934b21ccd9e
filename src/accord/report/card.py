"""A model card: the README.md of a model folder, from what its stage left in `accord/`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accord.config.references import HUB
from accord.errors import AccordError
from accord.evaluation.document import read_stage
from accord.evaluation.findings.rollouts import KINDS
from accord.report.environment import cards

METHODS: Mapping[str, str] = {
    "pretrain": "Next-token training",
    "sft": "Supervised fine-tuning (loss on the response and its end token only)",
    "preference": "Preference optimisation against the frozen starting model",
    "ppo": "Proximal policy optimisation (PPO) on its own completions",
    "grpo": "Group-relative policy optimisation (GRPO) on groups of its own completions",
    "online": "Online preference optimisation: the best against the worst of its own completions",
    "reward": "Reward model (Bradley–Terry): one score for a prompt with its response",
}
ADVANTAGES: Mapping[str, str] = {
    "rloo": "REINFORCE with a leave-one-out baseline (RLOO) on groups of its own completions",
    "reinforce_plus_plus": "REINFORCE++ on groups of its own completions",
}
"""What the GRPO stage is called with another advantage than the group's."""
TAGS: Mapping[str, tuple[str, ...]] = {
    "pretrain": ("pretraining",),
    "sft": ("sft",),
    "preference": ("dpo",),
    "ppo": ("ppo", "reinforcement-learning"),
    "grpo": ("grpo", "reinforcement-learning"),
    "online": ("online-dpo",),
    "reward": ("reward-model",),
}
SETTINGS = (
    "architecture", "steps", "epochs", "batch_size", "num_generations", "max_length", "optimizer",
    "lr", "muon_lr", "betas", "weight_decay", "max_grad_norm", "schedule", "warmup_steps",
    "warmup_ratio", "precision", "loss", "loss_type", "advantage", "scale_rewards",
    "importance_sampling_level", "epsilon", "epsilon_high", "cliprange", "cliprange_value", "beta",
    "kl_estimator", "kl_coef", "kl_target", "kl_stop", "gamma", "lam", "critic", "critic_from",
    "vf_coef", "entropy_coef", "whiten_advantages", "whiten_rewards", "dynamic_sampling",
    "mask_truncated_completions", "missing_end_penalty", "label_smoothing", "margin_cap",
    "use_margin", "centering", "lora", "chat_template", "seed",
)  # fmt: skip
"""Settings of the training table, in its order; those a stage does not have are left out."""
ROLLOUT = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens")
"""Settings of the sampling in roll-outs."""
METRICS = (
    "loss", "eval_loss", "eval_bits_per_byte", "eval_accuracy", "eval_margin",
    "eval_rewards/accuracies", "eval_rewards/margins", "eval_logps/chosen", "eval_logps/rejected",
)  # fmt: skip
OWN_METRICS = (
    "reward", "objective/kl", "unique", "completions/mean_length", "completions/clipped_ratio",
    "rewards/margins",
)  # fmt: skip
"""Of stages that train on their own completions, whose loss says little."""
ISO = re.compile("[a-z]{2,3}")
"""What a code of a language looks like to the hub."""


@dataclass(frozen=True)
class Origin:
    """What only the publisher knows.

    Args:
        license: Identifier of the licence that the weights are under.
        language: ISO codes of the languages of the training text.
        base_model: Hub id of the starting model; empty if it has none.
    """

    license: str = "unknown"
    language: Sequence[str] = ()
    base_model: str = ""


def model_card(folder: Path, origin: Origin | None = None) -> str:
    """Text of the README.md of a trained stage's folder.

    Args:
        folder: The stage's folder, with `accord/stage.json` in it.
        origin: What the folder does not say.

    Raises:
        AccordError: The folder holds no stage.json.
    """
    parts = read_stage(folder)
    stage = parts["stage"]
    if not stage:
        raise AccordError(
            "The folder holds no finished stage.", str(folder), "give the folder of a trained stage"
        )
    environment = cards()
    config = stage.get("config", {})
    origin = origin or _known(config, parts["rows"])
    curves = parts["curves"]
    judges = [m for m in curves if m.startswith("judges/")] if stage["kind"] in KINDS else []
    wanted = [*OWN_METRICS, *judges] if stage["kind"] in KINDS else METRICS
    return environment.get_template("card.md.j2").render(
        front=_front_matter(stage["kind"], config, origin),
        stage=stage,
        method=_method(stage["kind"], config),
        start=config.get("from"),
        settings=_settings(config),
        terms=config.get("reward") if stage["kind"] in KINDS else None,
        judges=config.get("judges"),
        bidirectional=_bidirectional(config),
        adapter=bool(config.get("lora")),
        critic=(folder / "accord" / "critic").is_dir(),
        metrics={m: curves[m][-1] for m in wanted if curves.get(m)},
        heldout=parts["heldout"] if "accuracy" in parts["heldout"] else None,
        passages=_passages(parts["heldout"]),
        evaluated=stage["kind"] != "reward",
        rows=parts["rows"],
        languages=_counts(parts["rows"], "languages"),
        held=_counts(parts["rows"], "notes"),
        license=origin.license,
    )


def _known(config: Mapping[str, Any], rows: Mapping[str, Any]) -> Origin:
    """What a stage's folder says of its origin: the hub's base model, and codes of languages."""
    start = config.get("from") or ""
    codes = {name for _, name, _ in _counts(rows, "languages") if ISO.fullmatch(name)}
    base = start.removeprefix(HUB) if start.startswith(HUB) else ""
    return Origin(language=sorted(codes), base_model=base)


def _counts(rows: Mapping[str, Any], name: str) -> list[tuple[str, str, int]]:
    """Source, name and number of what the account of rows counts beside them."""
    return [
        (source, what, count)
        for source, counts in rows.items()
        for what, count in counts.get(name, {}).items()
    ]


def _passages(heldout: Mapping[str, Any]) -> dict[str, Any]:
    """Held-out figures of running text by source."""
    return {
        source: found
        for source, found in heldout.items()
        if isinstance(found, dict) and "bits_per_byte" in found
    }


def _method(kind: str, config: Mapping[str, Any]) -> str:
    return ADVANTAGES.get(config.get("advantage", ""), METHODS.get(kind, kind))


def _bidirectional(config: Mapping[str, Any]) -> bool:
    return config.get("architecture") == "bidirectional"


def _library(config: Mapping[str, Any]) -> str:
    if _bidirectional(config):
        return "accord"
    return "peft" if config.get("lora") else "transformers"


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    rollout = config.get("rollout") or {}
    sampling = rollout.get("sampling") or {}
    return {
        **{k: config[k] for k in SETTINGS if config.get(k) is not None},
        **{f"rollout.{k}": rollout[k] for k in ("batches", "iterations") if k in rollout},
        **{f"rollout.sampling.{k}": sampling[k] for k in ROLLOUT if sampling.get(k)},
    }


def _front_matter(kind: str, config: Mapping[str, Any], origin: Origin) -> str:
    """The YAML that the hub reads."""
    front: dict[str, Any] = {
        "license": origin.license,
        "language": list(origin.language),
        "library_name": _library(config),
        "pipeline_tag": "text-classification" if kind == "reward" else "text-generation",
        "base_model": origin.base_model,
        "datasets": _hub_datasets(config),
        "tags": ["accord", *TAGS.get(kind, ())],
    }
    kept = {key: value for key, value in front.items() if value}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True).strip()


def _hub_datasets(config: Mapping[str, Any]) -> list[str]:
    """Ids of the sources that are hub data sets; others have no id there."""
    sources = [source.get("source", "") for source in config.get("data", [])]
    return [s.removeprefix("hub:").split(":")[0] for s in sources if s.startswith("hub:")]
