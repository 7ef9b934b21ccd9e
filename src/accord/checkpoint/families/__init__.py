"""The model families Accord reads and writes: how Hugging Face names and stores each, a file each.

A new family is one more file and one more row in `FAMILIES`. The first that can express a config
writes it.
"""

from collections.abc import Mapping

from accord.checkpoint.families.family import Family, Need, same
from accord.checkpoint.families.gpt2 import GPT2
from accord.checkpoint.families.granite import GRANITE
from accord.checkpoint.families.llama import LLAMA
from accord.checkpoint.families.mistral import MISTRAL
from accord.checkpoint.families.mixtral import MIXTRAL
from accord.checkpoint.families.qwen import QWEN2, QWEN3
from accord.checkpoint.families.qwen3_moe import QWEN3_MOE
from accord.checkpoint.families.rule import Rule

__all__ = ["FAMILIES", "Family", "Need", "Rule", "same"]

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (LLAMA, MISTRAL, QWEN2, QWEN3, GPT2, MIXTRAL, QWEN3_MOE, GRANITE)
}
"""The families by `model_type`, in the order in which they are asked."""
