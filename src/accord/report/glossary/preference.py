"""Metrics and settings of preference losses, over pairs of any origin."""

from collections.abc import Mapping

from accord.evaluation.findings.preference import (
    CHOSEN_FELL,
    CHOSEN_FELL_SHARE,
    MARGIN_LARGE,
    STILL_MARGIN,
)
from accord.evaluation.findings.start import ALL_RIGHT, AT_ONCE
from accord.report.glossary.entry import PAIRS, Entry, percent

METRICS: Mapping[str, Entry] = {
    "rewards/chosen": Entry(
        "Implicit reward of the chosen response: beta times how much more likely it became than "
        "under the reference.",
        healthy="With a reference it is 0 at the first step, then above 0, or a little below.",
        bad="Falling: the chosen responses become less likely too, and the margin comes from "
        "pushing the rejected ones down further (finding chosen_fell, a fall of more than "
        f"{CHOSEN_FELL:g} nat and {percent(CHOSEN_FELL_SHARE)} of logps/chosen). Not 0 at the "
        "first step: the finding wrong_reference.",
        try_="Give the chosen response's likelihood weight: loss: {sigmoid: 1, sft: 0.3}. Lower "
        "lr, raise beta, or use apo_zero.",
        formula="β (Σπ_w - Σπ_ref,w), over beta in nats; without a reference β Σπ_w (cpo, sft) or "
        "β Σπ_w/|w| (simpo, orpo)",
        stages=PAIRS,
    ),
    "rewards/rejected": Entry(
        "Implicit reward of the rejected response: beta times how much more likely it became than "
        "under the reference.",
        healthy="0 at the first step, then below 0.",
        bad="Above 0 beside a growing rewards/chosen: both become likelier, as where the two are "
        "nearly the same text. Far below 0, tens of nats over beta: the policy unlearns text.",
        try_="Pairs that differ more; a higher beta, a lower lr or fewer steps.",
        formula="as rewards/chosen, of the rejected response",
        stages=PAIRS,
    ),
    "rewards/margins": Entry(
        "Chosen minus rejected implicit reward, beta included.",
        healthy="With a reference it is 0 at the first step, then grows, some tenths to a few "
        "units over a run. Compare runs of one beta only; over beta it is in nats.",
        bad=f"Below {STILL_MARGIN:g}: the policy did not move. Above {MARGIN_LARGE:g}: the loss is "
        "flat, the policy only drifts (finding margin_explosion). Below 0 on held-out pairs: the "
        "preference is not learned, or the columns are swapped.",
        try_="Still: raise lr or steps. Exploding: set margin_cap, raise beta, lower lr, or stop "
        "earlier.",
        formula="rewards/chosen - rewards/rejected; of kto the difference of their means",
        stages=PAIRS,
    ),
    "rewards/accuracies": Entry(
        "Share of pairs whose chosen response has the higher implicit reward; ties count as wrong.",
        healthy="At the first step all pairs tie with the reference; soon it is above 0.5. Human "
        "preferences are noisy: held-out values of 0.6 to 0.75 are common.",
        bad="About 0.5 on held-out pairs: nothing was learned that carries over. Near 1 in "
        "training and far lower held out: pairs are learned by heart. Near 1 at once: a shortcut, "
        "such as length or format, tells the two apart (format_only_preference: above "
        f"{percent(AT_ONCE)} in the first fifth of the steps and {percent(ALL_RIGHT)} at last).",
        try_="Look at length and format of the two sides with `accord data check FILE`; fewer "
        "epochs; more or cleaner pairs; label_smoothing against wrong labels.",
        formula="mean of 1[reward_w > reward_l]",
        stages=PAIRS,
    ),
    "logps/chosen": Entry(
        "Log-probability of the chosen response, summed over its tokens, in nats.",
        healthy="About where it began, or higher. Its level depends on length: compare with the "
        "first step.",
        bad="Falling steadily: the policy moves away from what people preferred.",
        try_="loss: {sigmoid: 1, sft: 0.3}, a lower lr, a higher beta.",
        formula="Σπ_w, its end token included; of simpo and orpo Σπ_w/|w|",
        stages=PAIRS,
    ),
    "logps/rejected": Entry(
        "Log-probability of the rejected response, summed over its tokens, in nats.",
        healthy="Falling slowly.",
        bad="Falling by hundreds of nats: probability goes to texts that are in no pair, and "
        "samples degenerate.",
        try_="margin_cap, a higher beta, a lower lr, fewer steps.",
        formula="Σπ_l, its end token included; of simpo and orpo Σπ_l/|l|",
        stages=PAIRS,
    ),
    "nll_loss": Entry(
        "Negative log-probability of the chosen response, in nats a token, before its weight; "
        "logged where loss has sft, cpo or orpo.",
        healthy="Level or falling: the text that people preferred stays likely.",
        bad="Rising: the policy moves away from it in spite of the term.",
        try_="Give it more weight (loss: {sigmoid: 1, sft: 0.3}; cpo_alpha), or lower lr.",
        formula="mean over pairs of -Σπ_w/|w|",
        stages=PAIRS,
    ),
    "log_odds_chosen": Entry(
        "How much likelier a token of the chosen response is than one of the rejected, as "
        "log-odds; logged where loss has orpo.",
        healthy="Growing, and above 0.",
        bad="Below 0 on held-out pairs: rejected responses stay the likelier ones.",
        try_="Raise beta (λ), train longer, see that the columns are not swapped.",
        formula="log odds(w) - log odds(l), odds = p/(1-p), p = exp(Σπ/|y|)",
        stages=PAIRS,
    ),
    "log_odds_ratio": Entry(
        "The log-sigmoid of log_odds_chosen, which orpo raises; logged where loss has orpo.",
        healthy="Rising towards 0 from about -0.69, its value where both are equally likely.",
        bad="Falling: rejected responses become the likelier ones.",
        try_="As for log_odds_chosen.",
        formula="log σ(log_odds_chosen)",
        stages=PAIRS,
    ),
    "pairs_made": Entry(
        "Share of prompts whose best and worst completion differ in reward.",
        healthy="Near 1 with a reward model, which hardly ever ties.",
        bad="Low: most prompts give no pair, and steps are made of few.",
        try_="Raise num_generations or the temperature; use a reward that tells completions apart.",
        stages=("online",),
    ),
}

KEYS: Mapping[str, Entry] = {
    "LossSettings.loss": Entry(
        healthy="sigmoid is the one to start with. `accord explain NAME` has formula, paper and "
        "use of each.",
        bad="A loss that normalises by length with sigmoid's beta: it hardly moves.",
        try_="{sigmoid: 1, sft: 0.3} against falling chosen responses; sigmoid_norm or simpo "
        "against growing length; robust or ipo against wrong labels; kto for labels without pairs.",
    ),
    "LossSettings.beta": Entry(
        healthy="0.1 for sigmoid (its paper: 0.1, and 0.5 for summaries). Losses of per-token "
        "means want more: sigmoid_norm 5 (Tülu 3), simpo 2 to 2.5. orpo: λ 0.1.",
        bad="Too low: the policy leaves the reference, samples degenerate (high KL, "
        "margin_explosion). Too high: it stays where it was.",
        try_="0.03, 0.1, 0.3 and compare at equal KL: a margin grows with beta by itself.",
    ),
    "LossSettings.label_smoothing": Entry(
        healthy="0, or the share of labels that are wrong, such as 0.1.",
        bad="Above that share: less is learned. For robust it must be above 0.",
        try_="0.1 where annotators disagree; it also keeps margins finite.",
    ),
    "LossSettings.margin_cap": Entry(
        healthy="None, or a few units of the reward, such as 5: σ(5) = 0.993.",
        bad="Below 1: pairs stop teaching before they are learned.",
        try_=f"5 where rewards/margins passes {MARGIN_LARGE:g}.",
    ),
    "LossSettings.ld_alpha": Entry(
        healthy="None or 1: plain DPO. Between 0 and 1 the tokens by which one answer is longer "
        "count less. No value is best everywhere.",
        bad="0: what a longer answer says in its surplus, its end token too, is not learned.",
        try_="0.5 where answers grow longer, and compare length and win rate.",
    ),
    "LossSettings.weighting": Entry(
        healthy="none for answers of the policy itself; wpo for answers of other models.",
        bad="wpo makes every weight small, 0.14 where both answers cost a nat a token: the same lr "
        "moves less.",
        try_="wpo_aligned, with a higher lr.",
    ),
    "LossSettings.f_divergence_type": Entry(
        healthy="reverse_kl: DPO as published.",
        bad="forward_kl keeps all of the reference's answers likely, and moves little.",
        try_="js_divergence where diversity falls.",
    ),
    "LossSettings.f_alpha_divergence_coef": Entry(
        healthy="Above 0 and below 1: towards 0 it is like reverse_kl, towards 1 like forward_kl "
        "(f-DPO's finding).",
        bad="Without f_divergence_type: alpha_divergence it has no effect.",
        try_="0.3, 0.5, 0.7.",
    ),
    "LossSettings.simpo_gamma": Entry(
        healthy="0.3 to 1.6 with beta 2 to 2.5 (the paper's settings).",
        bad="Too high: text degenerates. 0: no target margin.",
        try_="A quarter to a half of beta.",
    ),
    "LossSettings.cpo_alpha": Entry(
        healthy="1, the paper's.",
        bad="0: nothing holds the chosen answers' likelihood.",
        try_="Raise it when logps/chosen falls.",
    ),
    "LossSettings.discopop_tau": Entry(
        healthy="0.05, the paper's.",
        bad="Larger: the mixing of the two losses becomes gradual.",
        try_="Leave it.",
    ),
    "PreferenceStage.desirable_weight": Entry(
        healthy="So that desirable_weight × wanted answers is 1 to 4/3 of undesirable_weight × "
        "unwanted ones (KTO's advice).",
        bad="Both 1 with ten times as many unwanted answers: the rare side is drowned.",
        try_="Raise the rarer side's weight.",
    ),
    "PreferenceStage.undesirable_weight": Entry(
        healthy="1; see desirable_weight for the balance.",
        bad="High: the policy learns what not to say, and little what to say.",
        try_="Change one of the two weights, not both.",
    ),
    "PreferenceStage.sync_ref_model": Entry(
        healthy="false. true for long runs that the first reference holds back.",
        bad="true: nothing ties the policy to its start any more; KL to the start is the one to "
        "watch.",
        try_="ref_model_sync_steps 512 with ref_model_mixup_alpha 0.6.",
    ),
    "PreferenceStage.ref_model_sync_steps": Entry(
        healthy="512 with mixup 0.6 (TR-DPO's best region).",
        bad="Few: the reference runs after the policy. More than the run has: no effect.",
        try_="A tenth to a fifth of the run.",
    ),
    "PreferenceStage.ref_model_mixup_alpha": Entry(
        healthy="0.6; 1 replaces the reference by the policy.",
        bad="1 with few steps between moves: no tie is left.",
        try_="Lower it before sync steps are made fewer.",
    ),
    "PreferenceStage.train_on": Entry(
        healthy="last: the answers differ there.",
        bad="all where earlier turns are the same on both sides: they cancel out, at a cost.",
        try_="all for pairs of whole conversations.",
    ),
    "RatedPairs.gap": Entry(
        healthy="As large as leaves enough pairs: a clear difference of ratings.",
        bad="Small: labels are noise. Large: few pairs, and easy ones.",
        try_="A standard deviation of the ratings.",
    ),
    "RatedPairs.length_ratio": Entry(
        healthy="1.25: the two sides hardly differ in length.",
        bad="None: if better texts are longer, length is what is learned.",
        try_="Raise it when too few pairs are found.",
    ),
    "RatedPairs.pairs_per_row": Entry(
        healthy="1 to 4.",
        bad="Many: the same text again and again, learned by heart.",
        try_="2, and more texts.",
    ),
    "JudgedPairs.samples": Entry(
        healthy="4 to 8: best against worst grows clearer with more.",
        bad="2: many prompts tie and give no pair. Many: sampling takes the time, and the best of "
        "many is text that the model hardly ever writes.",
        try_="Raise it when rows.json counts many ties.",
    ),
    "JudgedPairs.label": Entry(
        healthy="best_worst to be taught the most by each prompt; bradley_terry for labels as "
        "noisy as people's, from which a reward model can learn the reward's scale.",
        bad="bradley_terry with a reward that hardly differs: labels are coin flips.",
        try_="A larger weight of the reward's terms makes bradley_terry surer.",
    ),
    "JudgedPairs.prompts": Entry(
        healthy="As many as the steps will see: steps × batch_size pairs.",
        bad="More: completions are sampled that no step trains on. Few: the same pairs over and "
        "over, learned by heart.",
        try_="batch_size × steps, divided by the pairs a prompt gives.",
    ),
    "OnlineStage.num_generations": Entry(
        healthy="4 to 8: best against worst grows clearer with more.",
        bad="2: pairs are often ties or noise. Many: sampling takes the time, and the worst of "
        "many is an odd one.",
        try_="Raise it when pairs_made is low.",
    ),
    "LoRAConfig.r": Entry(
        healthy="8 to 64; preference training needs little.",
        bad="Too small: loss stays above that of full training. Too large: memory without use.",
        try_="16; use_rslora above 64.",
    ),
    "LoRAConfig.lora_alpha": Entry(
        healthy="r to 2 r.",
        bad="It multiplies the adapter, much as a higher lr does: too high is unstable.",
        try_="Keep lora_alpha / r when r changes, and tune lr.",
    ),
    "LoRAConfig.use_rslora": Entry(
        healthy="true where r is large.",
        bad="Switched on at the same lora_alpha, adapters weigh √r times as much.",
        try_="Lower lora_alpha or lr with it.",
    ),
    "LoRAConfig.target_modules": Entry(
        healthy="all-linear.",
        bad="[q_proj, v_proj] alone: less memory, and usually a worse loss.",
        try_="all-linear with a smaller r.",
    ),
}
