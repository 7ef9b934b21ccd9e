"""Accord: from raw text to an aligned language model, and a report of what alignment changed.

    import accord

    recipe = accord.load_recipe("recipes/quickstart.yaml", ["seed=2"])
    accord.run(recipe, "runs/mine")
    model, tokenizer = accord.load("runs/mine/dpo")
    print(accord.generate(model, tokenizer, "This film is", temperature=0.7, seed=1))

Nothing is loaded before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.config.load import load_recipe
    from accord.errors import AccordError
    from accord.pipeline.api import (
        dpo,
        evaluate,
        grpo,
        online,
        ppo,
        pretrain,
        reward,
        run,
        sft,
        study,
        tokenizer,
    )
    from accord.pipeline.audit import audit
    from accord.pipeline.compare import compare
    from accord.pipeline.generate import generate, load
    from accord.pipeline.merge import merge

__all__ = [
    "AccordError",
    "audit",
    "compare",
    "dpo",
    "evaluate",
    "generate",
    "grpo",
    "load",
    "load_recipe",
    "merge",
    "online",
    "ppo",
    "pretrain",
    "reward",
    "run",
    "sft",
    "study",
    "tokenizer",
]

_HOMES = {
    "AccordError": "accord.errors",
    "load_recipe": "accord.config.load",
    "load": "accord.pipeline.generate",
    "generate": "accord.pipeline.generate",
    "audit": "accord.pipeline.audit",
    "compare": "accord.pipeline.compare",
    "merge": "accord.pipeline.merge",
    **dict.fromkeys(
        (
            *("run", "study", "tokenizer", "pretrain", "sft", "dpo", "evaluate"),
            *("reward", "ppo", "grpo", "online"),
        ),
        "accord.pipeline.api",
    ),
}


def __getattr__(name: str) -> Any:
    """Load a public name, or the version, when it is first asked for."""
    if name == "__version__":
        return import_module("importlib.metadata").version("accord")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'accord' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
