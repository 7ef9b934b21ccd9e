"""Faults of stages trained on given rows."""

from diagnosis import plants
from diagnosis.cells import evaluation, pairs, supervised
from diagnosis.faults.fault import fault
from diagnosis.worlds import WORLDS, source

SUPERVISED = (
    fault(
        "loss stands: sft, lr 1e-9",
        "reviews",
        # few rows, all of them in each step: noise would hide that nothing is learned
        supervised("reviews", lr=1e-9, steps=40, batch_size=48, heldout={"fraction": 0.9}),
        "loss_did_not_fall",
    ),
    fault(
        "loss spike: sft, one corrupted batch",
        "chats",
        supervised("chats"),
        "loss_spikes",
        plant=plants.corrupted_batch(40),
        onset=40,
    ),
    fault(
        "overflow: sft, two steps",
        "chats",
        supervised("chats"),
        "steps_skipped",
        plant=plants.overflowed((20, 30)),
        onset=20,
    ),
    fault(
        "overflow: reward, from step 20 on",
        "reviews",
        pairs("reviews", "reward"),
        "steps_skipped",
        plant=plants.overflowed(range(20, 60)),
        onset=20,
    ),
    fault(
        "divergence: sft once more, lr 0.5",
        "chats",
        supervised("chats", lr=0.5, max_grad_norm=None, **{"from": "sft"}),
        "loss_diverged",
    ),
    fault(
        "cut off: sft, max_length 60",
        "chats",
        supervised("chats", max_length=60),
        "rows_truncated",
        "rows_dropped",
    ),
    fault(
        "no end token: sft without it",
        "chats",
        {"run": supervised("chats")["run"], "report": evaluation(WORLDS["chats"])},
        "no_end_token",
        plant=plants.responses_without_end,
    ),
    fault(
        "leakage: prompts from training rows",
        "chats",
        {
            "run": supervised("chats")["run"],
            "report": evaluation(
                WORLDS["chats"], prompts={"heldout": None}, trained_prompts="report"
            ),
        },
        "leakage",
    ),
    fault(
        "leakage: prompts from a copy of the rows",
        "chats",
        {
            "run": supervised("chats")["run"],
            "report": evaluation(
                WORLDS["chats"],
                prompts={"heldout": None, "data": [source(WORLDS["chats"], "again")]},
                trained_prompts="report",
            ),
        },
        "leakage",
    ),
    fault(
        "reward model: labels at random",
        "chats",
        pairs("chats", "reward", file="alike"),
        "reward_model_at_chance",
    ),
)
