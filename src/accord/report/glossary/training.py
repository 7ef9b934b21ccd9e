"""Metrics of every trained stage, and the settings of the loop."""

from collections.abc import Mapping

from accord.evaluation.findings.data import OVERFIT
from accord.evaluation.findings.preference import MARGIN_LARGE
from accord.evaluation.findings.stability import LOSS_LOW, RIGHT_HIGH
from accord.report.glossary.entry import LANGUAGE, PAIRS, TRAINED, Entry, percent

METRICS: Mapping[str, Entry] = {
    "loss": Entry(
        "What the optimiser lowers, averaged over the tokens, pairs or groups of a step.",
        healthy="It falls on average. What a good value is depends on the stage.",
        bad="Flat from the start: nothing is learned (loss_did_not_fall). Sudden peaks: steps too "
        "large, or bad rows (loss_spikes). Rising: steps far too large (loss_diverged). "
        "null in the log: it was not finite, and the step was skipped.",
        try_="Flat: raise lr. Peaks: lower lr, lengthen the warm-up, see grad_norm.",
        stages=TRAINED,
        also=(
            Entry(
                "Cross-entropy of the next token, in nats a scored token.",
                healthy="From scratch it begins near log V, 8.3 for a vocabulary of 4,096. "
                "Compare later values with eval_loss, and between tokenizers with bits_per_byte.",
                bad="Much lower than eval_loss: rows are learned by heart.",
                try_="Fewer epochs, more data, or weight_decay.",
                formula="-1/N Σ log π(token), N scored tokens",
                stages=LANGUAGE,
            ),
            Entry(
                "The preference loss that `loss` names, averaged over pairs or labelled answers.",
                healthy="sigmoid begins at log 2 = 0.6931, where policy and reference are one, and "
                "falls slowly. Values of different losses cannot be compared.",
                bad="sigmoid that does not begin at 0.6931: the reference is not the starting "
                "model. It stays there: the policy does not move. Near 0: the margins are so "
                f"large (above {MARGIN_LARGE:g}) that nothing is learned any more (loss_saturated: "
                f"below {LOSS_LOW:g} with {percent(RIGHT_HIGH)} right).",
                try_="Stays: raise lr. Near 0: margin_cap, a higher beta, a lower lr, fewer steps.",
                formula="accord explain NAME_OF_THE_LOSS gives it",
                stages=PAIRS,
            ),
            Entry(
                "Bradley–Terry loss of pairs, with the weighted errors to the ratings where "
                "pairs.regression or pairs.every_token is set.",
                healthy="Without those terms it begins near log 2 = 0.6931 and falls; judge by "
                "eval_accuracy.",
                bad="Near 0 in training while eval_loss rises: it has learned the pairs by heart.",
                try_="One epoch, a lower lr, more pairs.",
                formula="softplus(-(r_w - r_l - m)) + c (r_w + r_l)²",
                stages=("reward",),
            ),
            Entry(
                "Policy loss plus vf_coef times the value loss, less entropy_coef times the "
                "entropy.",
                healthy="It has no target and need not fall: watch objective/scores and the "
                "judges.",
                bad="Growing without end: the critic diverges; see loss/value_avg.",
                try_="Lower lr or vf_coef; whiten_rewards where rewards are large.",
                formula="loss/policy_avg + vf_coef · loss/value_avg - entropy_coef · entropy",
                stages=("ppo",),
            ),
            Entry(
                "The clipped policy loss, with beta times the KL.",
                healthy="Near 0 whatever is learned: advantages of a group add up to 0. Watch "
                "reward and the judges.",
                bad="Exactly 0: every group's rewards are equal, see frac_reward_zero_std.",
                try_="Prompts of middling difficulty, more completions a prompt, a higher "
                "temperature, dynamic_sampling.",
                formula="accord explain NAME_OF_THE_LOSS_TYPE gives it",
                stages=("grpo",),
            ),
        ),
    ),
    "grad_norm": Entry(
        "Length of the gradient before clipping, all parameters as one vector.",
        healthy="Steady, or slowly falling after the warm-up. Its level depends on model, loss "
        "and batch: compare with the same run's earlier steps.",
        bad="Single peaks are cut off by max_grad_norm. Many times its usual level over many "
        "steps: training becomes unstable. Near 0: nothing is learned, as with saturated pairs "
        "or groups of equal rewards.",
        try_="Peaks: lower lr, warm up longer, look for odd rows at that step. Near 0: raise lr, "
        "or see why the loss is flat.",
        formula="√Σ g², of the step's mean gradient",
        stages=TRAINED,
    ),
    "learning_rate": Entry(
        "Step size of AdamW at that step.",
        healthy="It rises during the warm-up, reaches lr, and falls as schedule says.",
        bad="Still rising when the run ends: the warm-up is longer than the run.",
        try_="Set warmup_ratio instead of warmup_steps.",
        formula="lr × the schedule's share of the peak",
        stages=TRAINED,
    ),
    "entropy": Entry(
        "How undecided the model is at a token, in nats, averaged over the tokens it is scored on.",
        healthy="At most log V. On given text it falls as the model learns; on the policy's own "
        "roll-outs it should fall slowly and level off.",
        bad="A fall towards 0 in a roll-out stage: it hardly explores any more. A rise in "
        "preference training: the policy loses its grip on the text.",
        try_="Raise beta (PPO: kl_coef or entropy_coef), sample at a higher temperature, or stop "
        "earlier.",
        formula="-Σ_v π(v) log π(v)",
        stages=(*LANGUAGE, *PAIRS, "grpo"),
    ),
    "mean_token_accuracy": Entry(
        "Share of scored tokens that the model would have put first.",
        healthy="It rises while loss falls. Compare with eval_mean_token_accuracy; there is no "
        "value that is good for every text.",
        bad="Far above the held-out value: learned by heart. Near 1 from the start of an SFT: the "
        "prompt may be in the loss, or the rows are duplicates.",
        try_="Fewer epochs; look at rows with `accord data check FILE`.",
        formula="mean of 1[argmax π = token]; of preference stages over chosen answers",
        stages=(*LANGUAGE, *PAIRS),
    ),
    "eval_loss": Entry(
        "The loss on rows that were never trained on.",
        healthy="It falls with loss and stays near it.",
        bad=f"More than {percent(OVERFIT)} above its lowest value at the end: the run overfits. "
        "Below loss: the held-out rows are easier, or training rows are in them.",
        try_="Train for as many steps as its lowest point; fewer epochs; more data.",
        formula="as loss, in evaluation mode",
        stages=(*LANGUAGE, "reward", "preference"),
    ),
    "epoch": Entry("Passes over the training rows so far.", stages=TRAINED),
    "step": Entry("Optimiser steps so far.", stages=TRAINED),
    "num_tokens": Entry("Tokens read so far over all ranks, padding not counted.", stages=TRAINED),
    "skipped_rows": Entry(
        "Ids of the rows of a step that was skipped because loss or gradient was not finite.",
        healthy="Absent.",
        bad="Now and then: odd rows, or steps at the edge of what the precision holds. Five "
        "skipped steps in a row end the run.",
        try_="Look at these rows; lower lr; precision: fp32.",
        stages=TRAINED,
    ),
    "spike_rows": Entry(
        "Ids of the rows of a step that was left out as a spike (skip_spikes).",
        healthy="Absent, or a few in thousands of steps.",
        bad="Many: skip_spikes is too low, and the rows that training is for are left out. After "
        "five steps in a row the rise is taken as one that lasts.",
        try_="Look at these rows; raise skip_spikes; lower lr, warm up longer.",
        formula="x > median + skip_spikes · max(1.4826 · MAD, 1 % of the median), of loss or "
        "gradient norm, over the latest 128 steps taken",
        stages=TRAINED,
    ),
}

KEYS: Mapping[str, Entry] = {
    "TrainConfig.lr": Entry(
        healthy="It depends on size, stage and optimiser. AdamW on all weights of models from 7 B: "
        "about 2e-5 for SFT, 5e-7 to 1e-6 for DPO, 1e-6 for PPO and GRPO. Adapters (lora) want "
        "about ten times that; models of a few million parameters 1e-4 to 1e-3; pretraining "
        "of such 1e-3 to 1e-2.",
        bad="Too low: loss stays where it began, and the finding policy_did_not_move. Too high: "
        "peaks in loss and grad_norm, chosen answers that become unlikely, a KL that runs away.",
        try_="Change it by factors of 3, with a warm-up; take the largest that leaves loss and KL "
        "quiet.",
    ),
    "TrainConfig.batch_size": Entry(
        healthy="Preference pairs: 16 to 128. SFT: 16 to 128. Reward groups: 2 to 8. Prompts of "
        "PPO and GRPO: enough for some hundred completions a roll-out.",
        bad="Too small: noisy steps. Too large: few steps from the same data.",
        try_="Keep it, and split it by micro_batch_size or micro_batch_tokens when memory runs "
        "out: the result is the same. When it grows by n, raise lr by about √n.",
    ),
    "TrainConfig.micro_batch_size": Entry(
        healthy="The largest that fits into memory. It changes speed and memory, not the result: "
        "losses are divided once, by the whole step's weight.",
        bad="Too large: out of memory. 1: slow.",
        try_="Halve it until it fits; micro_batch_tokens where lengths differ widely.",
    ),
    "TrainConfig.micro_batch_tokens": Entry(
        healthy="At least max_length, as many tokens as memory holds. Rows of like length are "
        "taken together, so that no memory is kept for a rare long row.",
        bad="Below the longest row: that row still goes alone. Too large: out of memory.",
        try_="Start at 8 × max_length and double it while memory lasts.",
    ),
    "TrainConfig.max_length": Entry(
        healthy="Above the length of nearly all rows: `accord data check FILE --tokenizer DIR "
        "--max-length N` counts the others. At most what the model reads.",
        bad="Too short: rows are truncated or dropped (rows.json says how many), and an answer "
        "without its end teaches not to end.",
        try_="Raise it; lower micro_batch_tokens if memory runs out.",
    ),
    "TrainConfig.epochs": Entry(
        healthy="1 for preferences, reward models and policies; 1 to 3 for SFT.",
        bad="Too many: loss keeps falling and eval_loss rises.",
        try_="Set eval_every and take the number of steps at eval_loss's lowest point.",
    ),
    "TrainConfig.steps": Entry(
        healthy="In preference training a few hundred steps are often enough; in roll-out stages "
        "as long as a judge still rises.",
        bad="Too few: the policy did not move. Too many: overfitting, over-optimisation.",
        try_="Read the step off the lowest eval_loss, or off the judge's best point in the report.",
    ),
    "TrainConfig.optimizer": Entry(
        healthy="adamw for whatever starts from a trained model. muon for pretraining and small "
        "models: docs/experiments.md has it far ahead there.",
        bad="muon with adamw's lr: lr then sets embeddings and norms alone, muon_lr the rest.",
        try_="muon_lr 0.02 for pretraining, 0.01 for SFT of a small model.",
    ),
    "TrainConfig.muon_lr": Entry(
        healthy="About 0.02 from scratch (Jordan et al. 2024): steps are normalised, so that it "
        "depends little on size.",
        bad="Too high: loss peaks. Too low: slower than AdamW.",
        try_="Halve or double it; 0.01 to go on from a trained model.",
    ),
    "TrainConfig.weight_decay": Entry(
        healthy="0 for preferences and policies, 0.1 is usual for pretraining.",
        bad="High in a short fine-tuning: it pulls a trained model towards 0.",
        try_="0.01 to 0.1 where a reward model is surer than it is right.",
    ),
    "TrainConfig.betas": Entry(
        healthy="[0.9, 0.95] for language models; [0.9, 0.999] is AdamW's own.",
        bad="A second value near 1 reacts slowly to a gradient that grows: loss peaks.",
        try_="Keep them; lower the second to 0.95 against peaks.",
    ),
    "TrainConfig.max_grad_norm": Entry(
        healthy="1.0. Clipping is meant for peaks.",
        bad="grad_norm above it at nearly every step: it then sets the step size, and lr does not.",
        try_="Lower lr first; none leaves gradients as they are.",
    ),
    "TrainConfig.skip_spikes": Entry(
        healthy="none; 10 or more for a long pretraining run whose data nobody has read.",
        bad="Below 6: hard rows are left out, and the model does not learn them. Losses of pairs "
        "and policies have long tails: there it leaves out what should be learned.",
        try_="Lower lr, longer warm-up and max_grad_norm first; look at spike_rows in the log.",
    ),
    "TrainConfig.schedule": Entry(
        healthy="linear or cosine for fine-tuning; wsd where a run may be prolonged.",
        bad="constant: the last steps stay noisy.",
        try_="linear with a warm-up of a tenth for preferences.",
    ),
    "TrainConfig.warmup_ratio": Entry(
        healthy="0.03 to 0.1.",
        bad="None with AdamW: the first steps are as large as any, on poor estimates.",
        try_="0.1 for preferences and small batches.",
    ),
    "TrainConfig.warmup_steps": Entry(
        healthy="Some tens; 3 to 10 % of the run.",
        bad="More than the run has: lr never reaches its peak.",
        try_="warmup_ratio, which follows the run's length.",
    ),
    "TrainConfig.min_lr_ratio": Entry(
        healthy="0 to 0.1.",
        bad="Near 1: no decay.",
        try_="0, unless the run is to be gone on with.",
    ),
    "TrainConfig.seed": Entry(
        healthy="Any. The same seed gives the same bytes on a CPU in fp32.",
        bad="A difference that one seed shows may be chance.",
        try_="Three seeds or more before a method is called better.",
    ),
    "TrainConfig.eval_every": Entry(
        healthy="A tenth to a fifth of the run.",
        bad="None: overfitting shows only at the end.",
        try_="Lower eval_rows if evaluations take long.",
    ),
    "TrainConfig.eval_rows": Entry(
        healthy="Some hundred: a share of n rows is known to about 1/√n.",
        bad="Few: eval_loss jumps with the choice of rows.",
        try_="512; all held-out rows where there are fewer.",
    ),
    "TrainConfig.save_every": Entry(
        healthy="Minutes of work: what a kill may cost.",
        bad="Every step of a large model: time goes into writing.",
        try_="Leave it out: about ten checkpoints a run.",
    ),
    "TrainConfig.keep_steps": Entry(
        healthy="The steps that later stages or comparisons start from.",
        bad="Many of a large model: each holds three times its weights in float32.",
        try_="Leave it out: the newest alone are kept.",
    ),
    "TrainConfig.async_save": Entry(
        healthy="true where a save takes longer than a step: training goes on beside it.",
        bad="true where memory is short: it holds one more copy of weights and optimiser state.",
        try_="false, until the time between steps shows the saves.",
    ),
    "SFTStage.train_on": Entry(
        healthy="last for single questions; all where every answer of a conversation is good.",
        bad="all with weak earlier answers teaches those too.",
        try_="all for short conversations: more is learned from the same rows.",
    ),
    "SFTStage.chat_template": Entry(
        healthy="The model's own; another one only for a model that has none.",
        bad="A template that the model never saw: it has to learn it, and users must use it too.",
        try_="Leave it out.",
    ),
}
