"""What the glossary knows of a name."""

from dataclasses import dataclass, replace

LANGUAGE = ("pretrain", "sft")
PAIRS = ("preference", "online")
ROLLOUTS = ("ppo", "grpo", "online")
TRAINED = ("pretrain", "sft", "reward", "preference", "ppo", "grpo", "online")

LOG = "accord/metrics.jsonl"
HELDOUT = "accord/heldout.json"
ROWS = "accord/rows.json"
REPORT = "report.json"


@dataclass(frozen=True)
class Entry:
    """A name in plain words; of a recipe key, whose docstring says what it is, only the advice.

    Args:
        what: What it is, with its unit, in one sentence.
        healthy: Which values are well, and in which setting; what to compare with.
        bad: What other values mean.
        try_: What to do then.
        formula: How it is computed.
        stages: Kinds of stage that have it.
        file: Where it is written, in a stage's folder or a run's.
        also: What the name means elsewhere.
    """

    what: str = ""
    healthy: str = ""
    bad: str = ""
    try_: str = ""
    formula: str = ""
    stages: tuple[str, ...] = ()
    file: str = LOG
    also: tuple["Entry", ...] = ()

    @property
    def meanings(self) -> tuple["Entry", ...]:
        """This meaning and the others, each by itself."""
        return (replace(self, also=()), *self.also)

    @property
    def full(self) -> bool:
        """Whether it has all four parts."""
        return all((self.what, self.healthy, self.bad, self.try_))


def percent(share: float) -> str:
    """A share as texts write it: `15 %`."""
    return f"{100 * share:g} %"
