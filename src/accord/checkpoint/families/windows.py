"""Sliding windows in config.json: one size, in all layers or those that `layer_types` names.

Hugging Face's `sliding_window` w lets a position see distances below w: as many latest positions,
its own included, as a window of ours. No number changes between the two.
"""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.family import Need
from accord.config.model import ModelConfig

FULL, SLIDING = "full_attention", "sliding_attention"


def windows(config: ModelConfig) -> list[int | None]:
    """Every layer's window."""
    return [config.window(layer) for layer in range(config.num_hidden_layers)]


NO_WINDOW = Need(
    "sliding_windows",
    lambda config: not any(windows(config)),
    "every layer attends to all positions",
)
SAME_WINDOW = Need(
    "sliding_windows",
    lambda config: len(set(windows(config))) == 1,
    "every layer has the same window",
)
ONE_SIZE = Need(
    "sliding_windows",
    lambda config: len({window for window in windows(config) if window}) <= 1,
    "windows are of one size",
)


def layered_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys by which Qwen's families say which layers slide."""
    per_layer = windows(config)
    sizes = {window for window in per_layer if window}
    first = next((i for i, window in enumerate(per_layer) if window), len(per_layer))
    return {
        "use_sliding_window": bool(sizes),
        "sliding_window": next(iter(sizes), None),
        # vLLM reads one window for all layers and refuses others by this number
        "max_window_layers": first,
        "layer_types": [SLIDING if window else FULL for window in per_layer],
    }


def layered_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    """`sliding_windows` of a config.json of Qwen's families."""
    size = hf["sliding_window"] if hf["use_sliding_window"] else None
    count = hf["num_hidden_layers"]
    kinds = hf.get("layer_types") or [
        SLIDING if size and layer >= hf["max_window_layers"] else FULL for layer in range(count)
    ]
    found = tuple(size if kind == SLIDING else None for kind in kinds)
    return {"sliding_windows": found if any(found) else None}


def layered_refusal(hf: Mapping[str, Any]) -> str | None:
    """Why the `layer_types` of a config.json are not read; none: they are."""
    kinds = hf.get("layer_types") or []
    strange = sorted(set(map(str, kinds)) - {FULL, SLIDING})
    if strange:
        return f"layer_types names {', '.join(strange)}; known: {FULL}, {SLIDING}"
    sized = hf.get("use_sliding_window", False) and hf.get("sliding_window", 1)
    if SLIDING in kinds and not sized:
        return "layer_types names sliding layers, but use_sliding_window or sliding_window is off"
    return None


def uniform_refusal(hf: Mapping[str, Any]) -> str | None:
    """Why `layer_types` cannot be read in a family whose layers are all alike; none: it can."""
    kinds = set(hf.get("layer_types") or [])
    plain = {SLIDING} if hf.get("sliding_window") else {FULL}
    if kinds <= plain:
        return None
    return (
        f"layer_types names {', '.join(sorted(map(str, kinds)))}, which transformers ignores in "
        "this family while other readers do not"
    )
