"""Train a tokenizer, measure it on held-out lines, save it as a Hugging Face folder."""

from accord.config.stages import TokenizerStage
from accord.data.account import Account
from accord.stages.context import StageContext
from accord.stages.records import stage_rows, write_record
from accord.text.measure import measure, to_json
from accord.text.tokenizer import Tokenizer


def run(config: TokenizerStage, context: StageContext) -> None:
    """Train on the sources' texts; held-out texts are only measured."""
    account = Account()
    rows = stage_rows(config, "text", context, account)
    tokenizer = Tokenizer.train(
        (row.text for row in rows.train),
        vocab_size=config.vocab_size,
        pattern=config.pattern,
        end_token=config.end_token,
        pad_token=config.pad_token,
        special_tokens=config.special_tokens,
        chat_template=config.chat_template,
    )
    if len(tokenizer) < config.vocab_size:
        context.console.print(
            f"The text has pairs for {len(tokenizer)} of {config.vocab_size} tokens.",
            style="yellow",
        )
    tokenizer.save(context.folder)
    lines = [line for row in rows.heldout for line in row.text.splitlines() if line.strip()]
    write_record(context.folder, "tokenizer_report.json", to_json(measure(tokenizer.encode, lines)))
    write_record(context.folder, "rows.json", account.to_json())
