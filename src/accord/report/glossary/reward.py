"""Metrics and settings of reward models."""

from collections.abc import Mapping

from accord.evaluation.findings.reward import CALIBRATION_OFF, LENGTH_TIED
from accord.report.glossary.entry import HELDOUT, Entry, percent

REWARD = ("reward",)

METRICS: Mapping[str, Entry] = {
    "accuracy": Entry(
        "Share of pairs whose better response has the higher score; ties count as wrong.",
        healthy="Above the TF-IDF ridge of the same rows, its interval above 0.5. Annotators agree "
        "on about three of four pairs: held-out values far above 0.75 on human labels ask for a "
        "look at what gives them away.",
        bad="The interval reaches 0.5: no better than a coin (reward_model_at_chance). Below the "
        "ridge: the language model adds nothing to counted words. Far above the held-out value: "
        "learned by heart.",
        try_="At chance: raise lr or steps, see that chosen and rejected differ. Below the ridge: "
        "a better trunk, more pairs, pairs.regression.",
        formula="mean of 1[r_w > r_l]",
        stages=REWARD,
    ),
    "accuracy/short": Entry(
        "Accuracy on the third of the pairs with the shortest responses.",
        healthy="Near accuracy.",
        bad="Far below the other thirds: short answers give it too little, or length is what it "
        "reads.",
        try_="Pairs of that length; pairs.length_ratio nearer to 1.",
        stages=REWARD,
    ),
    "accuracy/medium": Entry(
        "Accuracy on the third of the pairs with responses of middling length.",
        healthy="Near accuracy.",
        bad="Unlike the other thirds: few such pairs, or a score that goes with length.",
        try_="Pairs of that length; see length_correlation.",
        stages=REWARD,
    ),
    "accuracy/long": Entry(
        "Accuracy on the third of the pairs with the longest responses.",
        healthy="Near accuracy.",
        bad="Far below: long responses are cut off, or rare in training.",
        try_="Raise max_length; pairs of that length.",
        stages=REWARD,
    ),
    "margin": Entry(
        "Score of the better minus score of the worse response, averaged over pairs.",
        healthy="Above 0 and growing; read as log-odds, 1 means sure by 73 %.",
        bad="Growing on training pairs alone: it becomes surer than it is right (see ece).",
        try_="Fewer steps, weight_decay.",
        formula="r_w - r_l",
        stages=REWARD,
    ),
    "mean_reward": Entry(
        "Mean score that the reward model gives, over both sides of the pairs.",
        healthy="Anywhere: only differences of scores mean something.",
        bad="Drifting far from 0: a policy's reward then has an arbitrary level.",
        try_="centering: 0.01.",
        stages=REWARD,
    ),
    "min_reward": Entry("Lowest score of a batch, averaged over batches.", stages=REWARD),
    "max_reward": Entry("Highest score of a batch, averaged over batches.", stages=REWARD),
    "rating_mse": Entry(
        "Squared error of the score to the standardised human rating.",
        healthy="Below 1, which is what the mean rating reaches.",
        bad="1 or more on held-out texts: the rating is not foretold.",
        try_="More steps, a higher lr or pairs.regression.",
        formula="mean of (r - rating)², ratings with mean 0 and variance 1",
        stages=REWARD,
    ),
    "prefix_mse": Entry(
        "Squared error, at every token of a text, of the value there to the standardised rating.",
        healthy="Between rating_mse and 1: a beginning says less than the whole.",
        bad="1 or more: beginnings foretell nothing.",
        try_="More steps; a smaller pairs.every_token if accuracy suffers.",
        formula="mean over texts of the mean over their tokens of (value - rating)²",
        stages=REWARD,
    ),
    "ece": Entry(
        "Expected calibration error: how far the share of pairs in the right order lies from what "
        "the difference of scores promises, on average.",
        healthy=f"Below {percent(CALIBRATION_OFF)}, on some hundred held-out pairs or more.",
        bad="Above: differences of scores promise more, or less, than they hold. PPO and GRPO take "
        "scores at their word.",
        try_="Surer than right: fewer steps, weight_decay. Less sure: more steps, a higher lr.",
        formula="Σ_b n_b/n |accuracy_b - confidence_b|, 10 bins of σ(|r_w - r_l|)",
        stages=REWARD,
    ),
    "length_correlation": Entry(
        "Correlation of score and length, from -1 to 1: far from 0, length is paid for.",
        healthy=f"Between -{LENGTH_TIED:g} and {LENGTH_TIED:g}. Compare with the correlation of "
        "ratings and length, if better texts are longer by themselves.",
        bad="Beyond: a policy can be paid in tokens (reward_model_reads_length).",
        try_="Pairs of like length (pairs.length_ratio), or weigh a length function against it.",
        formula="Pearson's, over responses",
        stages=REWARD,
    ),
    "rating_correlation": Entry(
        "Correlation of the score with the human rating on held-out texts, from -1 to 1.",
        healthy="Above the ridge's, which stands beside it.",
        bad="Near 0: the score does not follow the rating.",
        try_="pairs.regression, more texts, a better trunk.",
        formula="Pearson's, over texts",
        stages=REWARD,
        file=HELDOUT,
    ),
    "baseline": Entry(
        "A linear model on counted words and pieces of words (TF-IDF ridge), fitted to the same "
        "rows.",
        healthy="Below the reward model.",
        bad="Ahead of it: reward_model_below_baseline, a problem where the interval of the "
        "difference excludes 0.",
        try_="A better pretrained trunk, more pairs, or a regression to the rating "
        "(pairs.regression).",
        stages=REWARD,
        file=HELDOUT,
    ),
    "groups_per_second": Entry("Groups of rated texts read a second.", stages=REWARD),
}

KEYS: Mapping[str, Entry] = {
    "RewardStage.architecture": Entry(
        healthy="causal: transformers loads it, and a critic may start from it.",
        bad="bidirectional cannot value beginnings: not for critic_from or every_token.",
        try_="bidirectional as a judge that is unlike the trained reward.",
    ),
    "RewardStage.centering": Entry(
        healthy="0, or 0.01 (the paper's) where scores are to stay around 0.",
        bad="Large: it fights the pairs' loss, accuracy falls.",
        try_="0.01 where mean_reward drifts.",
    ),
    "RewardStage.use_margin": Entry(
        healthy="true where the data has a margin column in units of the score.",
        bad="Margins on a large scale: every pair looks wrong, and scores blow up.",
        try_="Scale the column to 0 to 3, as Llama 2 did, with a wide and a narrow setting.",
    ),
    "RewardStage.baseline": Entry(
        healthy="true: it costs seconds, and says what a bag of words reaches.",
        bad="false: an accuracy with nothing to compare it with.",
        try_="Install the extra rewards if scikit-learn is missing.",
    ),
    "RatedGroups.size": Entry(
        healthy="8 to 32: a group of n texts gives up to n(n-1)/2 pairs.",
        bad="2: one pair from two texts. Large: memory.",
        try_="16 with batch_size 4.",
    ),
    "RatedGroups.gap": Entry(
        healthy="A clear difference of ratings; 0 takes every two that differ.",
        bad="Small: noisy pairs. Large: groups without any pair.",
        try_="A standard deviation of the ratings.",
    ),
    "RatedGroups.regression": Entry(
        healthy="0.5 to 1 where ratings are numbers one trusts.",
        bad="High with coarse ratings: it learns the scale of the raters.",
        try_="1, where the ridge is ahead.",
    ),
    "RatedGroups.every_token": Entry(
        healthy="0, or 1 for a scorer that a critic starts from.",
        bad="Beginnings that say nothing about the end: it adds noise.",
        try_="1 with few texts: each gives as many examples as it has tokens.",
    ),
    "RewardTerm.weight": Entry(
        healthy="So that the terms' spreads are what they should weigh: compare "
        "rewards/<term>/mean over a run.",
        bad="One term with ten times the spread of the others is the only one that counts.",
        try_="Divide each by its spread; a penalty on length about -0.001 a token.",
    ),
    "RewardTerm.timeout": Entry(
        healthy="10 seconds are ample for a function.",
        bad="Too short: a slow sample stops the run, and is named.",
        try_="Raise it for functions that run code.",
    ),
}
