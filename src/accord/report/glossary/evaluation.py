"""Figures of the evaluation and its report, and the settings of `evaluate`."""

from collections.abc import Mapping

from accord.evaluation.findings.policies import (
    COPIES_RISE,
    DIVERSITY_FALL,
    DIVERSITY_LOSS,
    ENDED_FALL,
    FLUENCY_FALL,
    FLUENCY_LOSS,
    LONGER,
    SHORTER,
)
from accord.evaluation.findings.preference import STILL_KL
from accord.report.glossary.entry import REPORT, Entry, percent

EVALUATE = ("evaluate",)

METRICS: Mapping[str, Entry] = {
    "vader": Entry(
        "Sentiment of the text from -1 (negative) to 1 (positive), by VADER's word list and "
        "rules; no stage was trained on it, unless its reward names it.",
        healthy="Compare with the reference on the same prompts.",
        bad="Near 1 with little variety: praise in every sentence.",
        try_="Read samples; see distinct_2 and fluency beside it.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "positive": Entry(
        "Share of completions with VADER above 0.",
        healthy="Compare with the reference.",
        bad="Near 1: hardly a neutral sentence is left.",
        try_="As for vader.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "length": Entry(
        "Tokens of a completion, its end token left out.",
        healthy=f"At most {percent(LONGER)} longer and {percent(SHORTER)} shorter than the "
        "reference's, unless another length is wanted.",
        bad="Beyond: the objective may be paid in length (longer_completions, "
        "shorter_completions).",
        try_="Pairs of like length, loss: sigmoid_norm, a reward that length does not move; "
        "grpo: loss_type: dr_grpo.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "fluency": Entry(
        "Mean log-probability a token, in nats, under the reference model: nearer to 0 is more "
        "like the text it was trained on.",
        healthy=f"Less than {FLUENCY_FALL:g} nats below the reference's own.",
        bad=f"A fall of more than {FLUENCY_FALL:g} is a warning, of more than {FLUENCY_LOSS:g} a "
        "problem (fluency_fell). A rise is not better text: repetition is likely text too.",
        try_="Raise beta (PPO: kl_coef or set kl_target), lower lr, or train for fewer steps.",
        formula="1/n Σ log π_ref(token)",
        stages=EVALUATE,
        file=REPORT,
    ),
    "kl per token": Entry(
        "The KL of a policy from the reference divided by the number of tokens, in nats.",
        healthy="Compare policies whose completions differ in length by it.",
        bad=f"As for kl: below {STILL_KL:g} a completion nothing moved.",
        try_="As for kl.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "win rate": Entry(
        "Share of completions that score higher than the reference's on the same prompt with the "
        "same seed; ties count half.",
        healthy="0.5 is the reference itself. Read its interval.",
        bad="An interval that holds 0.5: not distinguishable.",
        try_="More prompts or samples_per_prompt.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "difference": Entry(
        "Mean over prompts of policy minus reference, with its 95 % interval.",
        healthy="An interval that excludes 0.",
        bad="An interval that holds 0: not distinguishable, whatever the mean is.",
        try_="More prompts; a quarter of the width needs sixteen times as many.",
        formula="mean over prompts, paired by prompt and seed",
        stages=EVALUATE,
        file=REPORT,
    ),
    "interval": Entry(
        "95 % bootstrap interval: prompts are resampled with all their samples.",
        healthy="Narrow beside the difference that matters to you.",
        bad="Wide: too few prompts. It says nothing of other seeds of training.",
        try_="Raise prompts.count; train several seeds.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "distinct_2": Entry(
        "Different word pairs divided by all word pairs, over all completions; it falls when a "
        "policy repeats itself.",
        healthy=f"At most {percent(DIVERSITY_FALL)} below the reference's. It falls with the "
        "amount of text: compare equal numbers of samples.",
        bad=f"A fall of more than {percent(DIVERSITY_FALL)} is a warning, of more than "
        f"{percent(DIVERSITY_LOSS)} a problem (diversity_fell).",
        try_="Raise beta (PPO: kl_coef or set kl_target), or train for fewer steps; an "
        "entropy_coef of 0.01.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "ended": Entry(
        "Share of completions that reached their end token before the limit.",
        healthy=f"At most {percent(ENDED_FALL)} (of all) below the reference's.",
        bad="Below: the policy rambles, or never learned to end (rambling).",
        try_="preference: loss: {sigmoid: 1, sft: 0.3} or sigmoid_norm. Roll-out stages: "
        "missing_end_penalty, a larger max_new_tokens.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "empty": Entry(
        "Share of completions without a word.",
        healthy="0.",
        bad="Above the reference's: saying nothing is what pays.",
        try_="See the reward of an empty answer; lower missing_end_penalty.",
        stages=EVALUATE,
        file=REPORT,
    ),
    "copies": Entry(
        "Share of 8-word runs that stand word for word in the training text.",
        healthy=f"At most {percent(COPIES_RISE)} (of all runs) above the reference's.",
        bad="Above: training text is recited (copies_rose).",
        try_="Fewer epochs, or more varied pairs.",
        stages=EVALUATE,
        file=REPORT,
    ),
}

KEYS: Mapping[str, Entry] = {
    "BestOf.n": Entry(
        healthy="2 to 64, each twice or four times the one before, for a line beside the trained "
        "policies'. The KL is at most log n - (n - 1) / n: 0.2 nats at 2, 3.2 at 64.",
        bad="Large: n completions of every prompt are sampled, for a KL that grows as log n.",
        try_="The largest n that sampling time allows; smaller ones cost nothing more.",
    ),
    "EvaluateStage.samples_per_prompt": Entry(
        healthy="1 with many prompts, more with few.",
        bad="Many samples of few prompts: the interval stays that of few prompts.",
        try_="Raise prompts.count first.",
    ),
    "EvaluateStage.bootstrap": Entry(
        healthy="2,000: the ends of an interval are then known to a few per cent of its width.",
        bad="Below 500: intervals move from seed to seed.",
        try_="Leave it.",
    ),
    "EvaluateStage.scorers": Entry(
        healthy="One that no stage was trained on, and length beside it.",
        bad="The trained reward alone: it cannot show over-optimisation.",
        try_="[vader, fluency, length].",
    ),
    "PromptsConfig.count": Entry(
        healthy="256 or more held-out prompts.",
        bad="16: only large differences can be told from chance.",
        try_="Four times as many halve the interval.",
    ),
    "PromptsConfig.heldout": Entry(
        healthy="The same as in the stages that were trained.",
        bad="None with training data: what is measured was trained on.",
        try_="Share it by a YAML anchor: heldout: *heldout.",
    ),
}
