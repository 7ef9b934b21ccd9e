"""Accord's model config and Hugging Face's config.json, each from the other.

What a family cannot express is refused: a folder that loads elsewhere with other logits is worse
than none. Tensors are mapped by the rules of `checkpoint.families`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from accord.checkpoint.families import FAMILIES, Family
from accord.config.model import ModelConfig
from accord.errors import AccordError

_AGAIN = "Use the config.json that was saved with the weights, or fetch the folder again."


@dataclass(frozen=True)
class SpecialIds:
    """Ids that transformers and servers read from a folder; none where there is none."""

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None

    def to_json(self) -> dict[str, int | None]:
        """The three keys of config.json."""
        return {"bos_token_id": self.bos, "eos_token_id": self.eos, "pad_token_id": self.pad}


def family_of(config: ModelConfig) -> Family:
    """The family that expresses a config.

    Raises:
        AccordError: None does; each family's reasons are named.
    """
    reasons = {family.model_type: family.lacks(config) for family in FAMILIES.values()}
    for name, lacking in reasons.items():
        if not lacking:
            return FAMILIES[name]
    told = "; ".join(f"{name}: {', '.join(lacking)}" for name, lacking in reasons.items())
    raise AccordError(
        f"No Hugging Face family expresses this model ({told}).",
        where="model",
        fix="Change the named keys; presets 'llama' and 'gpt2' are expressible.",
    )


def config_to_hf(config: ModelConfig, special: SpecialIds, dtype: str) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        AccordError: No family expresses the config.
    """
    family = family_of(config)
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "dtype": dtype,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "use_cache": True,
        **family.to_hf(config),
        **special.to_json(),
    }


def config_from_hf(hf: Mapping[str, Any], where: str = "config.json") -> ModelConfig:
    """The config of a Hugging Face config.json.

    Raises:
        AccordError: An unknown family, another head, a setting that Accord does not compute, remote
            code, quantised weights, a missing key.
    """
    return shape_from_hf(hf, family_from_hf(hf, where), where)


def shape_from_hf(hf: Mapping[str, Any], family: Family, where: str) -> ModelConfig:
    """The config of a config.json whose family is known.

    Raises:
        AccordError: A setting that Accord does not compute, quantised weights, a missing key.
    """
    _check_supported(hf, family, where)
    try:
        common = {"vocab_size": hf["vocab_size"], **family.from_hf({**family.defaults, **hf})}
        common["tie_word_embeddings"] = hf.get(
            "tie_word_embeddings", family.defaults["tie_word_embeddings"]
        )
        common["initializer_range"] = hf.get("initializer_range", 0.02)
        return ModelConfig(**common)
    except KeyError as error:
        raise AccordError(
            f"config.json lacks the key {error} that {family.model_type} needs.", where, _AGAIN
        ) from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise AccordError(f"config.json describes no valid model: {told}", where, _AGAIN) from error


def family_from_hf(hf: Mapping[str, Any], where: str = "config.json") -> Family:
    """The family that a config.json names.

    Raises:
        AccordError: It is unknown, or the folder needs code of its own, or has another head.
    """
    refuse_code(hf, where)
    name = str(hf.get("model_type"))
    if is_scorer(hf):
        raise AccordError(
            f"The folder holds a reward model ({', '.join(architectures(hf) or [name])}): it "
            "scores text and predicts none." + (f" {NO_EXPORT}" if name == BIDIRECTIONAL else ""),
            where,
            "Give a language model; a reward model is named where rewards are (rewards: model).",
        )
    if name not in FAMILIES:
        raise AccordError(
            f"Unknown model_type '{name}'.",
            where,
            f"Give a model of a family that Accord reads; known: {', '.join(sorted(FAMILIES))}.",
        )
    family = FAMILIES[name]
    for architecture in architectures(hf):
        # a bare trunk (LlamaModel) is readable where its head is tied; another head is not
        if architecture not in (family.architecture, _trunk(family.architecture)):
            raise AccordError(
                f"The folder holds a {architecture}, not a {family.architecture}.",
                where,
                "Give a language model.",
            )
    return family


BIDIRECTIONAL = "accord-bidirectional"
"""The `model_type` of a scorer that no Hugging Face class computes."""
NO_EXPORT = (
    "It reads in both directions and averages over all tokens, which no Hugging Face class of its "
    "family does, so it cannot be exported: only Accord loads it."
)


def architectures(hf: Mapping[str, Any]) -> list[str]:
    """The classes that a config.json names."""
    named = hf.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def is_scorer(hf: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a model with a head for labels."""
    scorers = {family.scorer for family in FAMILIES.values()}
    return hf.get("model_type") == BIDIRECTIONAL or bool(scorers.intersection(architectures(hf)))


def refuse_code(hf: Mapping[str, Any], where: str) -> None:
    """Refuse a folder that needs code of its own."""
    if "auto_map" in hf:
        raise AccordError(
            "The model needs code of its own (auto_map), which Accord never runs.",
            where,
            "Convert it to a native architecture first.",
        )


def _trunk(architecture: str) -> str:
    return re.sub(r"(ForCausalLM|LMHeadModel)$", "Model", architecture)


def _check_supported(hf: Mapping[str, Any], family: Family, where: str) -> None:
    if hf.get("quantization_config"):
        raise AccordError(
            "The weights are quantised, which is not supported yet.",
            where,
            "Give the model that they were quantised from.",
        )
    reason = family.refusal(hf)
    if reason is not None:
        raise AccordError(f"{reason}.", where, "Use a model without this setting.")
    for key, values in family.supported.items():
        value = hf.get(key, values[0])
        if value not in values:
            raise AccordError(
                f"{family.model_type} with {key} = {value!r} is not supported; "
                f"supported: {', '.join(map(repr, values))}.",
                where,
                "Use a model without this setting.",
            )
