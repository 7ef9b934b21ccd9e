"""Every policy on the same prompts, scored and compared with the reference."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch

from accord.config.data import HeldoutConfig
from accord.config.stages import EvaluateStage
from accord.data.account import Account
from accord.data.load import load_rows
from accord.data.rows import ChatRow
from accord.data.split import row_text
from accord.evaluation.likelihood import Policy
from accord.evaluation.measure import evaluate
from accord.evaluation.protocol import fixed_prompts
from accord.rewards.model import ModelReward
from accord.stages.context import StageContext
from accord.stages.leakage import refuse_trained, trained_prompts
from accord.stages.models import open_model
from accord.stages.records import cache_folder, write_record
from accord.text.chat import prompt_ids
from accord.train import current_ranks

EVERYTHING = HeldoutConfig(fraction=0)


def run(config: EvaluateStage, context: StageContext) -> None:
    """Sample, score and compare; the numbers go to `accord/evaluation.json`.

    Raises:
        AccordError: A model was trained on some of the prompts, and that is not allowed.
    """
    account = Account()

    # the reference, which is asked for with every policy, and the policy at hand
    @lru_cache(maxsize=2)
    def load(name: str) -> Policy:
        model, tokenizer = open_model(context.input(name))
        return Policy(name, model.eval().to(current_ranks().device), tokenizer)

    def load_reward(name: str) -> ModelReward:
        tokenizer = load(config.reference).tokenizer
        return ModelReward(context.input(name), tokenizer, current_ranks().device, torch.float32)

    rows = prompt_rows(config, context, account)
    rows = answerable(rows, load(config.reference), config.sampling.max_new_tokens, account)
    prompts = fixed_prompts(config.prompts, rows, load(config.reference))
    trained_on = trained_prompts(config.inputs(), prompts, context)
    if config.trained_prompts == "refuse":
        refuse_trained(trained_on)
    texts = training_texts(config, context)
    found = evaluate(config, prompts, load, load_reward, texts, context.seed)
    found["protocol"]["trained_on"] = trained_on
    write_record(context.folder, "evaluation.json", found)
    write_record(context.folder, "rows.json", account.to_json())


def prompt_rows(config: EvaluateStage, context: StageContext, account: Account) -> list[ChatRow]:
    """Rows that prompts are taken from: the held-out ones, or all where nothing is held out."""
    prompts = config.prompts
    if not prompts.data:
        return []
    rows = load_rows(
        prompts.data,
        prompts.heldout or EVERYTHING,
        # the first words of a conversation's answer are a prompt too
        "chat" if prompts.first_words else "prompt",
        context.seed,
        account,
        cache_folder(),
        context.base,
    )
    return rows.heldout if prompts.heldout else rows.train


def answerable(
    rows: Sequence[ChatRow], policy: Policy, tokens: int, account: Account
) -> list[ChatRow]:
    """Rows whose prompt leaves room for an answer of `tokens`, or of half of what a model reads."""
    positions = policy.model.config.max_position_embeddings
    longest = positions - min(tokens, positions // 2)
    kept = []
    for row in rows:
        if row.prompt and len(prompt_ids(row.prompt, policy.tokenizer)) > longest:
            account.withdraw(
                row.source, f"prompt longer than {longest} tokens", language=row.language
            )
        else:
            kept.append(row)
    return kept


def training_texts(config: EvaluateStage, context: StageContext) -> Iterator[str]:
    """The text in which copies are looked for, what is held out left out."""
    if not config.copies_from:
        return
    heldout = config.prompts.heldout or EVERYTHING
    rows = load_rows(
        config.copies_from, heldout, "chat", context.seed, Account(), cache_folder(), context.base
    )
    yield from (row_text(row) for row in rows.train)
