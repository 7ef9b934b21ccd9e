"""Supervised fine-tuning on responses."""

from accord.checkpoint.folder import model_fingerprint
from accord.config.stages import SFTStage
from accord.data.account import Account
from accord.data.check.warn import warnings_of
from accord.data.examples import TrainOn, chat_example, check_some, fitted
from accord.data.order import Order
from accord.data.packing import Example
from accord.data.rows import ChatRow
from accord.model.decoder import Decoder
from accord.stages.context import StageContext
from accord.stages.heldout import bits_per_byte
from accord.stages.lora import for_training, leave
from accord.stages.models import check_length, open_for_training
from accord.stages.records import stage_rows, write_record
from accord.stages.sources import ExampleSource, steps_of
from accord.stages.steps import language_step
from accord.stages.training import train

RESPONSES = ("assistant", "text")


def run(config: SFTStage, context: StageContext) -> None:
    """Train on the responses' tokens and their end token; leave a model folder."""
    account, unseen = Account(), Account()
    rows = stage_rows(config, "chat", context, account)
    start = context.input(config.from_)
    opened = open_for_training(start, config.chat_template, config.pad_token, config.system_prompt)
    tokenizer = opened.tokenizer
    model = for_training(start, opened.model, tokenizer, config.lora, context.seed)
    context.say(opened.notes)
    check_length(model.config, config.max_length, f"stages.{context.name}")

    def examples(wanted: list[ChatRow]) -> list[Example]:
        return [chat_example(row, tokenizer, None, config.train_on) for row in wanted]

    made, limit = examples(rows.train), config.max_length
    context.warn(warnings_of(rows.train, made, limit, tokenizer.chat_template))
    training = fitted(rows.train, made, limit, account)
    check_some(rows.train, training, limit, f"stages.{context.name}")
    heldout = fitted(rows.heldout, examples(rows.heldout), limit, unseen)
    order = Order(len(training), config.batch_size, context.seed)
    source = ExampleSource(training, order, steps_of(config, order))
    watched, mark = heldout[: config.eval_rows], tokenizer.fingerprint
    if config.lora is not None:  # a checkpoint holds the adapter only
        mark = f"{mark} {model_fingerprint(start)}"
    trainer = train(model, language_step, source, watched, config, context, mark)

    def report(trained: Decoder) -> None:
        made = examples(rows.heldout)
        # a cut response would be fewer tokens for the same bytes
        whole = [i for i, example in enumerate(made) if example.length <= config.max_length]
        kept = [rows.heldout[i] for i in whole]
        sizes = [response_bytes(row, config.train_on) for row in kept]
        figures = bits_per_byte(trained, kept, [[made[i]] for i in whole], sizes)
        write_record(context.folder, "heldout.json", figures)
        write_record(context.folder, "rows.json", account.to_json())

    leave(trainer, model.config, tokenizer, context.folder, report, config.lora, start)


def response_bytes(row: ChatRow, train_on: TrainOn) -> int:
    """UTF-8 bytes of the turns that carry loss."""
    turns = [message for message in row.completion if message.role in RESPONSES]
    if train_on == "all":
        earlier = [message for message in row.prompt if message.role == "assistant"]
        return sum(len(message.content.encode()) for message in (*earlier, *turns))
    return len(turns[-1].content.encode())
