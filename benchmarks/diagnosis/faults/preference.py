"""Faults of stages trained on pairs."""

from diagnosis import plants
from diagnosis.cells import pairs
from diagnosis.faults.fault import fault

PREFERENCE = (
    fault(
        "margin explosion: lr 2e-2, batch 1",
        "chats",
        pairs("chats", file="obvious", lr=2e-2, batch_size=1, beta=0.3, steps=100),
        "margin_explosion",
    ),
    fault(
        "margin explosion: lr 5e-3, beta 0.02",
        "chats",
        pairs("chats", file="obvious", lr=5e-3, batch_size=4, beta=0.02, steps=100),
        "margin_explosion",
    ),
    fault(
        "saturated loss: one word tells",
        "chats",
        pairs("chats", file="obvious", lr=3e-3, steps=120),
        "loss_saturated",
    ),
    fault(
        "chosen falls: pairs alike",
        "chats",
        pairs("chats", file="alike", lr=5e-3, beta=0.05, batch_size=8, steps=100),
        "chosen_fell",
    ),
    fault(
        "policy stands: dpo, lr 1e-9",
        "reviews",
        pairs("reviews", lr=1e-9),
        "policy_did_not_move",
    ),
    fault(
        "policy stands: dpo, bf16 without masters",
        "reviews",
        pairs("reviews", lr=5e-6),
        "policy_did_not_move",
        plant=plants.no_master_weights,
    ),
    fault(
        "wrong reference: dpo, base model",
        "chats",
        pairs("chats"),
        "wrong_reference",
        plant=plants.reference_of_another_stage,
    ),
    fault(
        "wrong reference: dpo, logged every 10 steps",
        "chats",
        pairs("chats", log_every=10),
        "wrong_reference",
        plant=plants.reference_of_another_stage,
    ),
    fault(
        "wrong reference: dpo, in training mode",
        "reviews",
        pairs("reviews"),
        "wrong_reference",
        plant=plants.reference_in_training_mode,
    ),
    fault(
        "forgetting: dpo, lr 1e-2",
        "chats",
        pairs("chats", lr=1e-2, beta=0.05),
        "forgetting",
    ),
    fault(
        "format only: rejected is gibberish",
        "chats",
        pairs("chats", file="gibberish", lr=1e-3),
        "format_only_preference",
    ),
    fault(
        "loss spike: dpo, one corrupted batch",
        "reviews",
        pairs("reviews", lr=2e-4),
        "loss_spikes",
        plant=plants.corrupted_batch(30),
        onset=30,
    ),
)
