"""When to use which loss; formula and paper stand in the tables of `objectives`."""

from collections.abc import Mapping

from accord.report.glossary.entry import Entry

PREFERENCE: Mapping[str, Entry] = {
    "sigmoid": Entry(
        "DPO: logistic regression on the margin to the reference, the one to start with.",
        "beta 0.1; lr 5e-7 to 1e-6 for all weights of models from 7 B.",
        "Chosen responses may become less likely, answers longer.",
        "{sigmoid: 1, sft: 0.3} for the first, sigmoid_norm for the second.",
    ),
    "sigmoid_norm": Entry(
        "DPO on log-ratios per token, so that length is not paid for (Tülu 3).",
        "beta 5 with lr 5e-7 (Tülu 3, 8 B).",
        "With sigmoid's beta of 0.1 it hardly moves.",
        "beta 2 to 10.",
    ),
    "ipo": Entry(
        "Pulls the margin of per-token means to 1/(2β) by a squared error, TRL's form.",
        "beta 0.1 asks for a margin of 5 nats a token; 1 for 0.5.",
        "A low beta asks for more than text can give, and goes on pulling.",
        "Several values of beta: it is τ, and nothing like sigmoid's.",
    ),
    "ipo_sum": Entry(
        "IPO on summed log-ratios, as in the first public code.",
        "beta 0.1: a margin of 5 nats an answer, whatever its length.",
        "Long answers reach the margin by few tokens.",
        "ipo where lengths differ widely.",
    ),
    "hinge": Entry(
        "SLiC: pushes a pair until its margin passes 1, and then leaves it.",
        "beta 0.1 to 0.5.",
        "Pairs past the margin teach nothing: grad_norm falls to 0.",
        "A lower beta asks for a larger margin in nats.",
    ),
    "robust": Entry(
        "Unbiased DPO where a known share of the labels is wrong.",
        "label_smoothing: that share, such as 0.1.",
        "Too large a share amplifies noise: the loss may fall below 0.",
        "sigmoid with label_smoothing is the milder form.",
    ),
    "exo_pair": Entry(
        "Reverse KL between the policy's choice in a pair and a smoothed label's.",
        "label_smoothing 0.001 to 0.1, which must be above 0.",
        "A very small label_smoothing makes the loss steep.",
        "sigmoid, which it resembles for pairs.",
    ),
    "nca_pair": Entry(
        "Noise contrast: raises the chosen answer's own reward, not the margin alone.",
        "beta 0.01 to 0.1.",
        "Weaker margins than sigmoid at the same beta.",
        "Where sigmoid makes chosen answers unlikely.",
    ),
    "bco_pair": Entry(
        "Two classifiers: chosen answers above the reference, rejected ones below, TRL's form "
        "without the paper's shift.",
        "beta 0.1.",
        "Pairs whose sides are both good or both bad: their common part is pushed apart too.",
        "sigmoid for such pairs; kto for labels without pairs.",
    ),
    "sppo_hard": Entry(
        "Self-play: pulls the chosen log-ratio to +1/(2β) and the rejected one to -1/(2β).",
        "beta 0.001 on the policy's own completions (the paper's).",
        "On other models' answers it is far from what was derived.",
        "kind: online, with pairs drawn anew.",
    ),
    "aot": Entry(
        "Compares the sorted margins of the policy with the sorted margins of the reference over "
        "the batch.",
        "Large batches: it sorts a whole step, which is therefore not split.",
        "A small batch says little about a distribution.",
        "batch_size 64 or more.",
    ),
    "aot_unpaired": Entry(
        "Compares the sorted rewards of all chosen with those of all rejected answers.",
        "Large batches, where pairs of one prompt are not to be had.",
        "Prompts of different difficulty are mixed.",
        "aot where answers are paired.",
    ),
    "apo_zero": Entry(
        "Makes chosen answers likelier and rejected ones less likely, each for itself.",
        "beta 0.1, for chosen answers that are better than the policy's own.",
        "Weak chosen answers are imitated.",
        "apo_down then.",
    ),
    "apo_down": Entry(
        "Makes both answers less likely, the rejected one more so.",
        "beta 0.1, for chosen answers that are worse than the policy's own.",
        "Good chosen answers are lost.",
        "apo_zero then.",
    ),
    "apo_zero_unpaired": Entry(
        "apo_zero for single answers that are labelled wanted or not.",
        "As apo_zero; data as for kto.",
        "Few of one label: that side is noise.",
        "desirable_weight, undesirable_weight with kto.",
    ),
    "discopop": Entry(
        "A mixture of logistic and exponential loss that a language model found.",
        "beta 0.1, discopop_tau 0.05 (the paper's).",
        "Not convex: which pairs it pushes hardest is less plain than in sigmoid.",
        "sigmoid to compare with.",
    ),
    "simpo": Entry(
        "Log-probability per token as the reward, with a target margin and no reference.",
        "beta 2 to 2.5, simpo_gamma 0.3 to 1.6, lr 3e-7 to 1e-6 (the paper, 7 to 8 B).",
        "Nothing holds the policy to its start: a high lr makes text degenerate.",
        "Tune lr first; then gamma at a quarter to a half of beta.",
    ),
    "cpo": Entry(
        "DPO without a reference, with the chosen answer's likelihood as a second term.",
        "beta 0.1, cpo_alpha 1.",
        "With cpo_alpha 0 nothing holds the text.",
        "Where no memory is left for a reference; simpo against length.",
    ),
    "orpo": Entry(
        "SFT on the chosen answer and a log-odds ratio against the rejected one, in one stage.",
        "beta (λ) 0.1, lr 5e-6 to 8e-6, from a base model.",
        "On a model after SFT it repeats the SFT.",
        "More epochs than DPO: it also has to learn to answer.",
    ),
    "sft": Entry(
        "Negative log-probability per token of the chosen answer: a term beside another loss.",
        "0.1 to 0.3 beside sigmoid; 1 in iterative reasoning DPO.",
        "High: it is supervised fine-tuning, and the preference is drowned.",
        "Raise it while logps/chosen falls.",
    ),
    "kto": Entry(
        "Learns from single answers, wanted or not, against the step's KL as the point of "
        "reference.",
        "beta 0.1, lr 5e-7 to 5e-6, batch_size 16 or more: the KL is estimated over the step.",
        "Labels far out of balance: the rare side is drowned.",
        "desirable_weight and undesirable_weight.",
    ),
}

POLICY: Mapping[str, Entry] = {
    "grpo": Entry(
        "Clipped policy loss, a mean within each completion, then over completions.",
        "epsilon 0.2, groups of 8 or more.",
        "Tokens of long answers weigh less: wrong answers may grow long.",
        "dapo or dr_grpo.",
    ),
    "dapo": Entry(
        "Clipped policy loss, a mean over all tokens of the step; Accord's default.",
        "epsilon 0.2, epsilon_high 0.28.",
        "Long completions weigh more than short ones.",
        "dr_grpo or grpo where length drifts.",
    ),
    "dr_grpo": Entry(
        "Clipped policy loss, a sum over tokens divided by a constant length.",
        "scale_rewards: none, as in its paper.",
        "A large max_new_tokens makes steps small.",
        "Raise lr with max_new_tokens.",
    ),
    "bnpo": Entry(
        "TRL's mean over the tokens of a micro-batch; here the whole step's, as dapo.",
        "As dapo.",
        "Expecting TRL's numbers: its result changes with the micro-batch.",
        "dapo.",
    ),
    "cispo": Entry(
        "Caps the weight of a token instead of clipping its gradient away.",
        "epsilon_high well above the usual clip, such as 4; importance_sampling_level: token.",
        "A low cap weighs all that changed alike.",
        "Watch cispo_clip_ratio.",
    ),
}
