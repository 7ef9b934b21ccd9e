"""Metrics and keys of mixtures of experts."""

from collections.abc import Mapping

from accord.evaluation.findings.routing import BUSIEST
from accord.report.glossary.entry import TRAINED, Entry, percent

MORE = "Raise router_aux_loss_coef; take more tokens a step."

METRICS: Mapping[str, Entry] = {
    "aux_loss": Entry(
        "Load-balancing loss of the step before its weight, over all micro-batches and ranks; "
        "not part of the logged loss.",
        healthy="Near num_experts_per_tok, which is what even use gives.",
        bad="Rising towards num_experts: all tokens go to the same experts.",
        try_="Raise router_aux_loss_coef; lower lr.",
        formula="mean over layers of E Σ f P, E experts, f assignments a token, P mean probability",
        stages=TRAINED,
    ),
    "z_loss": Entry(
        "Mean squared log-sum-exp of the router's logits before its weight; not part of the "
        "logged loss.",
        healthy="A few units: (log num_experts)² where logits are near 0.",
        bad="Growing without end: logits so large that rounding decides where tokens go.",
        try_="Set or raise router_z_loss_coef (0.001 is common).",
        formula="mean (log Σ exp logit(e))² over experts e",
        stages=TRAINED,
    ),
    "router/entropy": Entry(
        "Entropy of the router's probabilities over all experts, in nats a token and layer.",
        healthy="It falls from log num_experts as experts specialise, and settles.",
        bad="Near 0 early: a token's experts are fixed before they have learned anything.",
        try_="Set router_z_loss_coef; lower lr or warm up longer.",
        stages=TRAINED,
    ),
    "router/load_max": Entry(
        "Largest part of a layer's assignments that one expert had since the last line, in times "
        "its even share.",
        healthy="1 to 2.",
        bad="Towards num_experts / num_experts_per_tok: one expert works on every token.",
        try_=MORE,
        stages=TRAINED,
    ),
    "router/load_min": Entry(
        "Smallest part of a layer's assignments that one expert had, in times its even share.",
        healthy="Above 0.5.",
        bad="0: an expert had no token at all, see router/dead_experts.",
        try_=MORE,
        stages=TRAINED,
    ),
    "router/busiest": Entry(
        "Largest share of a layer's tokens that one expert worked on since the last line.",
        healthy="Near num_experts_per_tok / num_experts.",
        bad=f"Above {percent(BUSIEST)}: the router has collapsed (router_collapsed).",
        try_=MORE,
        stages=TRAINED,
    ),
    "router/dead_experts": Entry(
        "Experts, over all layers, that no token was sent to since the last line.",
        healthy="0; now and then more where a step has few tokens.",
        bad="Never 0 any more: those experts learn nothing (dead_experts).",
        try_=MORE,
        stages=TRAINED,
    ),
    "router/dropped": Entry(
        "Share of assignments that no expert worked on.",
        healthy="0: experts have no capacity, and no padding is routed.",
        bad="Anything else is an error of Accord's.",
        try_="Report it with the recipe.",
        stages=TRAINED,
    ),
}

KEYS: Mapping[str, Entry] = {
    "TrainConfig.router_aux_loss_coef": Entry(
        healthy="0.001 to 0.02; leave it out to keep the model's, also when aligning.",
        bad="0: routers drift until experts die. Far too high: routers no longer look at the "
        "token.",
        try_="Watch router/load_max and aux_loss.",
    ),
    "TrainConfig.router_z_loss_coef": Entry(
        healthy="0 or 0.001.",
        bad="0 with z_loss growing without end. Far too high: all experts look alike to the "
        "router.",
        try_="0.001 where z_loss grows, above all in bf16.",
    ),
}
