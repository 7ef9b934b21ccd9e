"""Next-token training on packed documents."""

from collections.abc import Sequence

import numpy as np

from accord.config.stages import PretrainStage
from accord.data.account import Account
from accord.data.mixture import mixed
from accord.data.order import Order
from accord.data.packing import Blocks
from accord.data.rows import TextRow
from accord.data.sources import source_name
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.stages.context import StageContext
from accord.stages.heldout import bits_per_byte, windows
from accord.stages.models import (
    check_length,
    check_same_tokens,
    fresh_model,
    leave_model,
    open_model,
)
from accord.stages.records import stage_rows, write_record
from accord.stages.sources import BlockSource, steps_of
from accord.stages.steps import language_step
from accord.stages.training import train
from accord.text.tokenizer import Tokenizer


def run(config: PretrainStage, context: StageContext) -> None:
    """Train from scratch or on from a model; leave a model folder and its bits per byte."""
    account = Account()
    rows = stage_rows(config, "text", context, account)
    model, tokenizer = _start(config, context)
    check_length(model.config, config.max_length, f"stages.{context.name}")
    blocks = packed(config, rows.train, tokenizer, context.seed, account)
    if not blocks:
        raise AccordError(
            f"The text has {blocks.remainder} tokens, less than a block of {config.max_length}.",
            f"stages.{context.name}.max_length",
            "lower it, or give more text",
        )
    heldout = [
        windows(ids.tolist(), tokenizer.start_id, tokenizer.end_id, config.max_length - 1, row.id)
        for row, ids in zip(rows.heldout, _encoded(rows.heldout, tokenizer), strict=True)
    ]
    watched = [window for document in heldout for window in document][: config.eval_rows]
    order = Order(len(blocks), config.batch_size, context.seed)
    source = BlockSource(blocks, order, steps_of(config, order))
    mark = tokenizer.fingerprint
    trainer = train(model, language_step, source, watched, config, context, mark)

    def report(trained: Decoder) -> None:
        sizes = [len(row.text.encode()) for row in rows.heldout]
        write_record(
            context.folder, "heldout.json", bits_per_byte(trained, rows.heldout, heldout, sizes)
        )
        write_record(context.folder, "rows.json", account.to_json())

    leave_model(trainer, model.config, tokenizer, context.folder, report)


def packed(
    config: PretrainStage,
    rows: Sequence[TextRow],
    tokenizer: Tokenizer,
    seed: int,
    account: Account,
) -> Blocks:
    """The sources' documents in the mixture's shares, shuffled and cut into blocks."""
    documents = _encoded(rows, tokenizer)
    weights = {source_name(source): source.weight for source in config.data}
    places = mixed(rows, [len(ids) + 1 for ids in documents], weights, seed, account)
    shuffled = np.random.default_rng([seed, 0]).permutation(np.asarray(places))
    blocks = Blocks.of(
        [documents[place].tolist() for place in shuffled],
        tokenizer.start_id,
        tokenizer.end_id,
        config.max_length,
    )
    if blocks.remainder:
        last = rows[int(shuffled[-1])]
        account.noted(last.source, "tokens after the last whole block", blocks.remainder)
    return blocks


def _encoded(rows: Sequence[TextRow], tokenizer: Tokenizer) -> list[np.ndarray]:
    return tokenizer.encode_corpus(row.text for row in rows)


def _start(config: PretrainStage, context: StageContext) -> tuple[Decoder, Tokenizer]:
    if config.from_ is None:
        assert config.tokenizer is not None
        tokenizer = Tokenizer.load(context.input(config.tokenizer))
        return fresh_model(config.model, tokenizer, context.seed), tokenizer
    model, tokenizer = open_model(context.input(config.from_))
    if config.tokenizer is not None:
        folder = context.input(config.tokenizer)
        check_same_tokens(tokenizer, folder)
        tokenizer = Tokenizer.load(folder)
    return model, tokenizer
