"""A model card: the README.md of a model folder, from what its stage left in `accord/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from accord.errors import AccordError
from accord.evaluation.document import read_stage

METHODS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pretrain": ("Next-token training", ("pretraining",)),
    "sft": ("Supervised fine-tuning (loss on the response and its end token only)", ("sft",)),
    "preference": ("Preference optimisation against the frozen starting model", ("dpo",)),
}
SETTINGS = (
    "steps", "epochs", "batch_size", "max_length", "optimizer", "lr", "muon_lr", "betas",
    "weight_decay", "max_grad_norm", "schedule", "warmup_steps", "warmup_ratio", "precision",
    "loss", "beta", "label_smoothing", "margin_cap", "sft_weight", "chat_template", "seed",
)  # fmt: skip
"""Settings of the training table, in its order; those a stage does not have are left out."""
METRICS = (
    "loss", "eval_loss", "eval_bits_per_byte", "eval_rewards/accuracies", "eval_rewards/margins",
    "eval_logps/chosen", "eval_logps/rejected",
)  # fmt: skip


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
    environment = Environment(  # Markdown, not HTML: nothing is escaped
        loader=PackageLoader("accord.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    config = stage.get("config", {})
    method, tags = METHODS.get(stage["kind"], (stage["kind"], ()))
    return environment.get_template("card.md.j2").render(
        front=_front_matter(config, tags, origin or Origin()),
        stage=stage,
        method=method,
        start=config.get("from"),
        settings={k: config[k] for k in SETTINGS if config.get(k) is not None},
        metrics={m: parts["curves"][m][-1] for m in METRICS if parts["curves"].get(m)},
        rows=parts["rows"],
    )


def _front_matter(config: Mapping[str, Any], tags: Sequence[str], origin: Origin) -> str:
    """The YAML that the hub reads."""
    front: dict[str, Any] = {
        "license": origin.license,
        "language": list(origin.language),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": origin.base_model,
        "datasets": _hub_datasets(config),
        "tags": ["accord", *tags],
    }
    kept = {key: value for key, value in front.items() if value}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True).strip()


def _hub_datasets(config: Mapping[str, Any]) -> list[str]:
    """Ids of the sources that are hub data sets; others have no id there."""
    sources = [source.get("source", "") for source in config.get("data", [])]
    return [s.removeprefix("hub:").split(":")[0] for s in sources if s.startswith("hub:")]
