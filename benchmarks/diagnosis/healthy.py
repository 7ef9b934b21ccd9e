"""Healthy runs: sound settings of every kind of stage, on two languages."""

from collections.abc import Mapping

from diagnosis.cell import Cell
from diagnosis.cells import pairs, rolled, supervised
from diagnosis.worlds import Stages


def _runs() -> dict[str, tuple[str, Stages]]:
    return {
        "sft": ("reviews", supervised("reviews")),
        "sft, chats": ("chats", supervised("chats", lr=2e-3, schedule="cosine")),
        "reward": ("reviews", pairs("reviews", "reward", lr=4e-3)),
        "reward, cosine": (
            "reviews",
            pairs("reviews", "reward", lr=3e-3, schedule="cosine", steps=80),
        ),
        "dpo": ("reviews", pairs("reviews", lr=3e-4)),
        "dpo, chats": ("chats", pairs("chats", beta=0.3, lr=2e-4)),
        "ppo": ("reviews", rolled("reviews", "ppo", vf_coef=0.5, lr=2e-3)),
        "ppo, chats": ("chats", rolled("chats", "ppo", kl_coef=0.1, vf_coef=0.5, lr=4e-4)),
        "grpo": ("reviews", rolled("reviews", "grpo")),
        "grpo, chats": ("chats", rolled("chats", "grpo", beta=0.1, lr=4e-4)),
        "online": ("reviews", rolled("reviews", "online")),
        "online, chats": ("chats", rolled("chats", "online", lr=5e-4)),
    }


HEALTHY: Mapping[str, Cell] = {
    f"healthy {name}": Cell(f"healthy {name}", world, stages)
    for name, (world, stages) in _runs().items()
}
