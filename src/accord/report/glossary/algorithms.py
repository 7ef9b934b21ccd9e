"""Advice on the settings of PPO, the GRPO family, roll-outs and sampling."""

from collections.abc import Mapping

from accord.report.glossary.entry import Entry

METRICS: Mapping[str, Entry] = {}

PPO: Mapping[str, Entry] = {
    "PPOStage.kl_coef": Entry(
        healthy="0.01 to 0.1 where the reward's spread is about 1 (InstructGPT: 0.02). It scales "
        "with the reward.",
        bad="Too low: objective/kl runs away, text degenerates. Too high: the policy stays where "
        "it was.",
        try_="Change it by factors of 2 to 3, or set kl_target and let it adapt.",
    ),
    "PPOStage.kl_target": Entry(
        healthy="The nats a completion that you are ready to pay: a few for short answers.",
        bad="Below what the reward is worth: kl_coef grows without end.",
        try_="Read objective/kl off a good run with a fixed coefficient.",
    ),
    "PPOStage.kl_horizon": Entry(
        healthy="About the completions of a run, or a tenth: 10,000 is that of the first paper.",
        bad="Far above the run's completions: the coefficient hardly moves. Far below: it swings.",
        try_="Lower it where kl_over_target is found.",
    ),
    "PPOStage.kl_stop": Entry(
        healthy="None, or 0.01 to 0.05 nats a token: it bounds policy/approxkl_avg.",
        bad="Too low: most of each roll-out is thrown away.",
        try_="0.02 with many rollout.iterations.",
    ),
    "PPOStage.gamma": Entry(
        healthy="1: a completion is short, and its reward comes last.",
        bad="Below 1: the first tokens of long answers are hardly told of the reward.",
        try_="Leave it; lam sets bias against noise.",
    ),
    "PPOStage.lam": Entry(
        healthy="0.95; 1 trusts the critic only as a baseline.",
        bad="Low with a poor critic: its errors become the advantages.",
        try_="1 where critic/vf_explained_var stays near 0.",
    ),
    "PPOStage.whiten_advantages": Entry(
        healthy="true.",
        bad="false: lr has to fit the scale of the reward.",
        try_="Leave it.",
    ),
    "PPOStage.whiten_rewards": Entry(
        healthy="false, unless rewards are far from a spread of 1.",
        bad="true changes what kl_coef means: score and KL are scaled together.",
        try_="true where loss/value_avg is large.",
    ),
    "PPOStage.cliprange": Entry(
        healthy="0.2, the paper's.",
        bad="Large: single tokens move far. Small: policy/clipfrac_avg is high, little is learned.",
        try_="0.1 to 0.3; change lr first.",
    ),
    "PPOStage.cliprange_value": Entry(
        healthy="0.2 for rewards of a spread of about 1.",
        bad="Small beside the rewards: the critic cannot follow.",
        try_="none where val/clipfrac_avg stays high.",
    ),
    "PPOStage.vf_coef": Entry(
        healthy="0.1 to 1. With a separate critic it scales the critic's own gradient, which AdamW "
        "evens out, and its part in the common clipping.",
        bad="High with a shared critic: it takes over the trunk.",
        try_="0.5 where the critic explains nothing.",
    ),
    "PPOStage.entropy_coef": Entry(
        healthy="0 to 0.01.",
        bad="High: the policy is paid for noise, and the score falls (docs/experiments.md: .02 "
        "against .01).",
        try_="0.01 where policy/entropy_avg or distinct_2 falls.",
    ),
    "PPOStage.critic": Entry(
        healthy="separate.",
        bad="shared: less memory, and value errors disturb the policy.",
        try_="shared with a small vf_coef where memory is short.",
    ),
    "PPOStage.critic_from": Entry(
        healthy="The reward model, if it is causal: its values begin where its scores are.",
        bad="None: the critic begins at 0 everywhere and learns on the way.",
        try_="A reward model with pairs.every_token, which has learned to judge beginnings.",
    ),
    "PPOStage.num_generations": Entry(
        healthy="1: the critic is the baseline.",
        bad="Many with few prompts: roll-outs cover little.",
        try_="Raise it only where prompts are few.",
    ),
    "PPOStage.missing_end_penalty": Entry(
        healthy="None, or about a spread of the reward, such as 1.",
        bad="Large: ending at once becomes the best answer.",
        try_="1 where completions/clipped_ratio is high.",
    ),
}

GRPO: Mapping[str, Entry] = {
    "GRPOStage.num_generations": Entry(
        healthy="8 to 16; the paper has 64.",
        bad="2 to 4: the group's mean is noise, and many groups have no spread.",
        try_="Double it, and halve batch_size, where frac_reward_zero_std is high.",
    ),
    "GRPOStage.advantage": Entry(
        healthy="group, with num_generations 8 or more.",
        bad="group with scale_rewards: group blows up groups of nearly equal rewards.",
        try_="rloo for small groups; reinforce_plus_plus where difficulty varies.",
    ),
    "GRPOStage.scale_rewards": Entry(
        healthy="group as published; batch or none weigh hard and easy prompts by what they teach.",
        bad="none: lr has to fit the scale of the reward.",
        try_="batch where some groups hardly differ.",
    ),
    "GRPOStage.loss_type": Entry(
        healthy="dapo: every token weighs the same.",
        bad="grpo: tokens of long answers weigh less, so that wrong ones may grow long.",
        try_="dr_grpo where length drifts; `accord explain NAME` has each formula.",
    ),
    "GRPOStage.importance_sampling_level": Entry(
        healthy="token; sequence for mixtures of experts and long answers.",
        bad="sequence with a token's epsilon: nothing is ever clipped. GSPO's paper has 3e-4 and "
        "4e-4.",
        try_="sequence with epsilon 3e-4, where token ratios are noisy.",
    ),
    "GRPOStage.epsilon": Entry(
        healthy="0.2 with token ratios.",
        bad="Large: single tokens move far. Small: clip_ratio/region_mean is high.",
        try_="0.1 to 0.3; change lr first.",
    ),
    "GRPOStage.epsilon_high": Entry(
        healthy="None, or 0.28 (DAPO).",
        bad="Much above epsilon: entropy is kept, updates become rough.",
        try_="0.28 where entropy falls fast.",
    ),
    "GRPOStage.beta": Entry(
        healthy="0 with rewards that are right by rule; 0.001 to 0.1 with a reward model (the "
        "paper: 0.04).",
        bad="0 with a learned reward: it can be exploited. High: the policy does not move.",
        try_="0.04, then factors of 2 to 3, judged at equal KL.",
    ),
    "GRPOStage.kl_estimator": Entry(
        healthy="k3, the paper's: never below 0.",
        bad="k1 as a loss: its gradient is 0 on average and holds nothing.",
        try_="k2: its gradient is that of the KL.",
    ),
    "GRPOStage.dynamic_sampling": Entry(
        healthy="0, or 1 to 3 where many groups have equal rewards.",
        bad="High with prompts that are always or never solved: sampling takes all the time.",
        try_="2, and prompts of middling difficulty.",
    ),
    "GRPOStage.mask_truncated_completions": Entry(
        healthy="true where a cut answer says nothing about its worth.",
        bad="true with most completions cut off: little is left to learn from, and nothing is "
        "said against rambling.",
        try_="Raise max_new_tokens first.",
    ),
    "GRPOStage.missing_end_penalty": Entry(
        healthy="None, or about a spread of the reward.",
        bad="Large: groups differ by their ends alone.",
        try_="1 where completions/clipped_ratio is high.",
    ),
    "GRPOStage.kl_stop": Entry(
        healthy="None, or 0.01 to 0.05 nats a token: it bounds policy/approxkl_avg.",
        bad="Too low: most of each roll-out is thrown away.",
        try_="0.02 with many rollout.iterations.",
    ),
}

SAMPLING: Mapping[str, Entry] = {
    "RolloutConfig.batches": Entry(
        healthy="1 to 4: the last batches are learned from by a policy that has moved.",
        bad="Many: ratios leave 1, tokens are clipped.",
        try_="Some hundred completions a roll-out: batches × batch_size × num_generations.",
    ),
    "RolloutConfig.iterations": Entry(
        healthy="1 to 4.",
        bad="Many: policy/approxkl_avg and the clip shares grow with each pass.",
        try_="2 where sampling takes most of the time.",
    ),
    "RolloutConfig.slots": Entry(
        healthy="As many as memory holds; it changes speed, not the completions.",
        bad="Few: the decoder works on small batches.",
        try_="64 to 256.",
    ),
    "RolloutConfig.engine": Entry(
        healthy="accord for small models and CPUs, vllm for large ones on a GPU.",
        bad="vllm at another precision: see sampling/sampling_logp_difference/mean.",
        try_="docs/vllm.md.",
    ),
    "RolloutConfig.vllm_memory": Entry(
        healthy="0.3 beside the training's own weights, gradients and optimiser.",
        bad="Too high: training runs out of memory. Too low: vLLM holds few completions at a time.",
        try_="Lower it when the first update fails.",
    ),
    "SamplingConfig.temperature": Entry(
        healthy="1 in roll-outs, as the policy is; 0.7 to 1 for reading.",
        bad="Low in roll-outs: completions are alike, groups have no spread. Above 1: text falls "
        "apart.",
        try_="Raise it a little where unique or reward_std falls.",
    ),
    "SamplingConfig.top_p": Entry(
        healthy="1 in roll-outs; 0.9 to 0.95 for reading.",
        bad="Low: few words are left, and what is evaluated is not the policy.",
        try_="Hold it fixed in whatever is compared.",
    ),
    "SamplingConfig.top_k": Entry(
        healthy="0 (off) in roll-outs; 20 to 50 for reading.",
        bad="Small: as a low top_p.",
        try_="top_p instead, which follows how sure the model is.",
    ),
    "SamplingConfig.min_p": Entry(
        healthy="0 (off), or 0.05 to 0.1 for reading at a high temperature.",
        bad="Near 1: greedy.",
        try_="0.05 in place of top_p.",
    ),
    "SamplingConfig.max_new_tokens": Entry(
        healthy="Above the length of nearly all answers: completions/clipped_ratio says how many "
        "are cut off.",
        bad="Too short: rewards are those of fragments. It has to leave room for the prompt within "
        "max_length.",
        try_="Raise it until few are cut off.",
    ),
    "SamplingConfig.repetition_penalty": Entry(
        healthy="1 (off); 1.1 for reading a model that repeats itself. Roll-outs refuse others.",
        bad="Above 1.3: names and grammar suffer.",
        try_="Mend the model (distinct_2) instead.",
    ),
}

KEYS: Mapping[str, Entry] = {**PPO, **GRPO, **SAMPLING}
