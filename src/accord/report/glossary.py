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
    "tokens_per_second": "Tokens read a second, padding not counted.",
    "kept": "Rows that reached the stage.",
    "dropped": "Rows left out, by reason.",
    "truncated": "Rows shortened to fit, by reason.",
    "notes": "Counts that neither keep nor drop a row.",
    "tokens_per_kb": "Tokens for 1,000 bytes of text: fewer is better.",
    "fertility": "Tokens a word.",
    "bytes_per_token": "Bytes of text a token stands for: more is better.",
    "p95_tokens": "95 of 100 lines have at most this many tokens.",
}


def explain(term: str) -> str:
    """The term in plain words, or an empty string; `eval_` marks the held-out value."""
    if term in GLOSSARY:
        return GLOSSARY[term]
    bare = term.removeprefix("eval_")
    return f"On held-out rows: {GLOSSARY[bare]}" if bare in GLOSSARY else ""
