"""The model families Accord reads and writes: how Hugging Face names and stores each, a file each.

A new family is one more file and one more row in `FAMILIES`. The first that can express a config
writes it.
"""

from collections.abc import Mapping

from accord.checkpoint.families.family import Family, Need, same, sees_all
from accord.checkpoint.families.gpt2 import GPT2
from accord.checkpoint.families.llama import LLAMA
from accord.checkpoint.families.rule import Rule

__all__ = ["FAMILIES", "Family", "Need", "Rule", "same", "sees_all"]

FAMILIES: Mapping[str, Family] = {family.model_type: family for family in (LLAMA, GPT2)}
"""The families by `model_type`, in the order in which they are asked."""
