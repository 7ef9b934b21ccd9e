"""Plain words for the field's terms: tooltips of the report, and `accord explain`."""

from collections.abc import Mapping

GLOSSARY: Mapping[str, str] = {
    "vader": "Sentiment of the text from −1 (negative) to 1 (positive), by VADER's word list and "
    "rules. No stage was trained on it.",
    "length": "Tokens of a completion, its end token left out.",
    "fluency": "Mean log-probability a token, in nats, under the reference model: nearer to 0 is "
    "more like the text it was trained on.",
    "kl": "How far the policy moved from the reference: the Kullback–Leibler divergence of whole "
    "completions at temperature 1, in nats. Exact at each token, over the whole vocabulary.",
    "kl per token": "The same divergence divided by the number of tokens.",
    "win rate": "Share of completions that score higher than the reference's on the same prompt "
    "with the same seed; ties count half.",
    "difference": "Mean over prompts of policy minus reference, with its 95 % interval.",
    "interval": "95 % bootstrap interval: prompts are resampled with all their samples.",
    "distinct_2": "Different word pairs divided by all word pairs, over all completions. Falls "
    "when a policy repeats itself.",
    "unique": "Share of completions that differ from all others.",
    "ended": "Share of completions that reached their end token before the limit.",
    "empty": "Share of completions without a word.",
    "positive": "Share of completions with VADER above 0.",
    "copies": "Share of 8-word runs that stand word for word in the training text.",
    "loss": "What the optimiser lowers, averaged over tokens or pairs.",
    "eval_loss": "The loss on rows that were never trained on.",
    "rewards/chosen": "Implicit reward of the chosen response: beta times how much more likely it "
    "became than under the reference.",
    "rewards/rejected": "Implicit reward of the rejected response.",
    "rewards/margins": "Chosen minus rejected reward, beta included.",
    "rewards/accuracies": "Share of pairs whose chosen response has the higher reward; ties count "
    "as wrong.",
    "logps/chosen": "Log-probability of the chosen response, summed over its tokens, in nats.",
    "logps/rejected": "Log-probability of the rejected response, summed over its tokens, in nats.",
    "entropy": "How undecided the policy is at a token, in nats.",
    "mean_token_accuracy": "Share of tokens that the model would have put first.",
    "grad_norm": "Length of the gradient before clipping.",
    "learning_rate": "Step size of the optimiser at that step.",
    "bits_per_byte": "Bits the model needs for a byte of text: comparable between tokenizers.",
    "epoch": "Passes over the training rows so far.",
    "num_tokens": "Tokens read so far.",
    "pairs_per_second": "Pairs read a second.",
    "groups_per_second": "Groups of rated texts read a second.",
    "prompts_per_second": "Prompts learned from a second.",
    "peak_memory_bytes": "Most memory used so far, in bytes.",
    "nll_loss": "Negative log-probability a token of the chosen response.",
    "runtime": "Seconds that the evaluation took.",
    "tokens_per_second": "Tokens read a second, padding not counted.",
    "accuracy": "Share of pairs whose better response has the higher score; ties count as wrong.",
    "accuracy/short": "Accuracy on the third of the pairs with the shortest responses.",
    "accuracy/medium": "Accuracy on the third of the pairs with responses of middling length.",
    "accuracy/long": "Accuracy on the third of the pairs with the longest responses.",
    "margin": "Score of the better minus score of the worse response, averaged over pairs.",
    "mean_reward": "Mean score that the reward model gives.",
    "min_reward": "Lowest score of a batch, averaged over batches.",
    "max_reward": "Highest score of a batch, averaged over batches.",
    "rating_mse": "Squared error of the score to the standardised human rating.",
    "ece": "Expected calibration error: how far the share of pairs in the right order lies from "
    "what the difference of scores promises, on average.",
    "length_correlation": "Correlation of score and length: far from 0, length is paid for.",
    "rating_correlation": "Correlation of the score with the human rating.",
    "baseline": "A linear model on counted words and pieces of words, fitted to the same rows.",
    "reward": "What is maximised: the weighted sum of the reward's terms, averaged over the "
    "completions of a roll-out.",
    "reward_std": "How much rewards differ: the standard deviation, for completions of one prompt "
    "where a policy is trained, over responses where a reward model is.",
    "frac_reward_zero_std": "Share of prompts whose completions all have the same reward: they "
    "give no gradient.",
    "pairs_made": "Share of prompts whose best and worst completion differ in reward.",
    "objective/kl": "How far the policy moved from the reference in its own roll-outs: "
    "log π − log π_ref, summed over a completion, in nats.",
    "objective/entropy": "How undecided the policy is over a whole completion, in nats.",
    "objective/scores": "Mean reward of completions, before the KL is taken off.",
    "objective/rlhf_reward": "Mean reward of completions with the weighted KL taken off.",
    "objective/non_score_reward": "What the weighted KL takes off the reward of a completion.",
    "kl_coef": "Weight of the KL in the shaped reward; moves where a target is set.",
    "policy/approxkl_avg": "How far an update moved the policy from the one that wrote the "
    "roll-out: half the squared log-ratio of a token.",
    "policy/clipfrac_avg": "Share of tokens whose importance ratio was clipped.",
    "policy/entropy_avg": "How undecided the policy is at a token of its roll-outs, in nats.",
    "loss/policy_avg": "The clipped policy objective that is lowered.",
    "loss/value_avg": "Squared error of the value function, clipped.",
    "val/ratio": "Importance ratio: a token's probability now over that when it was sampled. "
    "Near 1 while updates are small.",
    "val/ratio_var": "Mean squared distance of the importance ratio from 1.",
    "val/clipfrac_avg": "Share of tokens at which the change of the value function was clipped.",
    "critic/vf_explained_var": "Share of the variance of returns that the value function "
    "predicts: 1 is perfect, 0 no better than their mean.",
    "clip_ratio/low_mean": "Share of tokens clipped because they had become too unlikely.",
    "clip_ratio/high_mean": "Share of tokens clipped because they had become too likely.",
    "clip_ratio/region_mean": "Share of tokens whose importance ratio was clipped.",
    "cispo_clip_ratio": "Share of tokens whose weight was capped.",
    "completions/mean_length": "Mean tokens of a completion in a roll-out, its end included.",
    "completions/min_length": "Tokens of the shortest completion of a roll-out.",
    "completions/max_length": "Tokens of the longest completion of a roll-out.",
    "completions/clipped_ratio": "Share of completions that were cut off at the limit.",
    "sampling/sampling_logp_difference/mean": "Distance of the sampler's log-probability of a "
    "token from the trainer's, in nats: 0 where both are one policy.",
    "sampling/sampling_logp_difference/max": "The largest such distance in a roll-out.",
    "kept": "Rows that reached the stage.",
    "dropped": "Rows left out, by reason.",
    "truncated": "Rows shortened to fit, by reason.",
    "notes": "Counts that neither keep nor drop a row.",
    "tokens_per_kb": "Tokens for 1,000 bytes of text: fewer is better.",
    "fertility": "Tokens a word.",
    "bytes_per_token": "Bytes of text a token stands for: more is better.",
    "p95_tokens": "95 of 100 lines have at most this many tokens.",
}


PARTS: Mapping[str, str] = {
    "rewards/": "Mean of this term of the reward over the completions of a roll-out.",
    "judges/": "Mean of this judge over the completions of a roll-out; no stage is trained on it.",
}
"""What `<part><label>/mean` is."""


def explain(term: str) -> str:
    """The term in plain words, or an empty string; `eval_` marks the held-out value."""
    if term in GLOSSARY:
        return GLOSSARY[term]
    for part, words in PARTS.items():
        if term.startswith(part) and term.endswith("/mean"):
            return words
    bare = term.removeprefix("eval_")
    return f"On held-out rows: {GLOSSARY[bare]}" if bare in GLOSSARY else ""
