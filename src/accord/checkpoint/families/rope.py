"""Rotary positions in config.json: `rope_parameters`, and the keys of older folders."""

from collections.abc import Mapping
from typing import Any

from accord.config.model import ModelConfig, RopeScaling

READ = ("default", "linear", "llama3", "yarn")
"""The rope types that Accord computes."""
_WHY_NOT = {
    "dynamic": "its rotations change with the length read so far, so that cached keys disagree "
    "with a sequence read anew",
    "longrope": "its rotations change with the length read so far, so that cached keys disagree "
    "with a sequence read anew",
}
_OF_LENGTH = ("llama3", "yarn")
_ALIKE = {
    "linear": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "beta_fast",
        "beta_slow",
        "truncate",
        "attention_factor",
    ),
}
_MSCALES = ("mscale", "mscale_all_dim")


def rope_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json that say how positions are rotated."""
    theta, scaling = config.rope_theta, config.rope_scaling
    if scaling is None:
        # readers before transformers 5 look for the first, those since for the second
        return {
            "rope_theta": theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        }
    said = {key: getattr(scaling, key) for key in _ALIKE[scaling.rope_type]}
    rope = {"rope_type": scaling.rope_type, **{k: v for k, v in said.items() if v is not None}}
    return {
        "rope_theta": theta,
        "rope_scaling": rope,
        "rope_parameters": {**rope, "rope_theta": theta},
    }


def rope_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling` of a config.json that `rope_refusal` lets pass."""
    rope = _parameters(hf)
    kind = _kind(rope)
    found: dict[str, Any] = {"rope_theta": rope.get("rope_theta", hf["rope_theta"])}
    if kind == "default":
        return found
    said = {key: rope[key] for key in _ALIKE[kind] if rope.get(key) is not None}
    if kind in _OF_LENGTH:
        length = hf.get("original_max_position_embeddings")
        length = length or said.get("original_max_position_embeddings")
        said["original_max_position_embeddings"] = length or hf["max_position_embeddings"]
    if kind == "yarn" and "attention_factor" not in said and all(rope.get(k) for k in _MSCALES):
        scaling = RopeScaling(**said, rope_type="yarn")
        said["attention_factor"] = scaling.length(rope["mscale"]) / scaling.length(
            rope["mscale_all_dim"]
        )
    return {**found, "rope_scaling": {"rope_type": kind, **said}}


def rope_refusal(hf: Mapping[str, Any]) -> str | None:
    """Why the rotations of a config.json are not computed; none: they are."""
    rope = _parameters(hf)
    nested = sorted(key for key, value in rope.items() if isinstance(value, dict))
    if nested:
        return f"rope_parameters differ by kind of layer ({', '.join(nested)}), not supported"
    kind = _kind(rope)
    if kind not in READ:
        why = _WHY_NOT.get(kind, f"known: {', '.join(READ)}")
        return f"Rope scaling '{kind}' is not supported: {why}"
    unread = sorted(rope.keys() - {"rope_type", "type", "rope_theta", "partial_rotary_factor"})
    unread = [key for key in unread if key not in (*_ALIKE.get(kind, ()), *_MSCALES)]
    if kind != "default" and unread:
        return f"Rope scaling '{kind}' with {', '.join(unread)} is not supported"
    for key in ("factor",) if kind != "default" else ():
        if rope.get(key) is None:
            return f"Rope scaling '{kind}' lacks its {key}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return f"partial_rotary_factor = {rope['partial_rotary_factor']!r} is not supported"
    return None


def _parameters(hf: Mapping[str, Any]) -> Mapping[str, Any]:
    # an older folder's key goes first, as in transformers
    return hf.get("rope_scaling") or hf.get("rope_parameters") or {}


def _kind(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))
