"""generation_config.json: what ends a text, and sampling settings by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accord.checkpoint.names import SpecialIds
from accord.config.generate import PRESETS
from accord.errors import AccordError
from accord.text.chat import stop_ids

if TYPE_CHECKING:
    from accord.text.tokenizer import Tokenizer


def special_ids(tokenizer: "Tokenizer | None") -> SpecialIds:
    """The ids that config.json names."""
    if tokenizer is None:
        return SpecialIds()
    return SpecialIds(tokenizer.bos_id, tokenizer.end_id, tokenizer.pad_id)


def generation_config(tokenizer: "Tokenizer | None") -> dict[str, Any]:
    """The content of generation_config.json, in transformers' words.

    Sampling stands under `presets` alone, which transformers and vLLM keep without acting on it:
    without being asked every server draws from the model itself.
    """
    found: dict[str, Any] = {
        key: value for key, value in special_ids(tokenizer).to_json().items() if value is not None
    }
    if tokenizer is not None and (turn_ends := _turn_ends(tokenizer)):
        found["eos_token_id"] = [tokenizer.end_id, *turn_ends]
    return {**found, "presets": {name: _theirs(preset) for name, preset in PRESETS.items()}}


def _theirs(preset: Mapping[str, Any]) -> dict[str, Any]:
    """A preset as arguments of transformers' `generate`, where temperature 0 is no sampling."""
    if preset.get("temperature") == 0:
        rest = {key: value for key, value in preset.items() if key != "temperature"}
        return {"do_sample": False, **rest}
    return {"do_sample": True, **preset}


def _turn_ends(tokenizer: "Tokenizer") -> list[int]:
    """What closes a turn besides the end token, under the tokenizer's chat format if it has one."""
    try:
        return sorted(stop_ids(tokenizer) - {tokenizer.end_id})
    except AccordError:  # a template of the folder's own that keeps no plain conversation whole
        return []
