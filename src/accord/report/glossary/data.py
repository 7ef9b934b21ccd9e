"""Counts of rows and tokens, and the settings of sources."""

from collections.abc import Mapping

from accord.evaluation.findings.data import ROWS_LOST
from accord.report.glossary.entry import HELDOUT, LANGUAGE, ROWS, TRAINED, Entry, percent

READS = ("tokenizer", *TRAINED, "evaluate")
TOKENIZER = ("tokenizer",)
MEASURED = "accord/tokenizer_report.json"

METRICS: Mapping[str, Entry] = {
    "kept": Entry(
        "Rows that reached the stage.",
        healthy="Kept, dropped and held-out rows add up to what was read.",
        bad="Far fewer than the file has: see dropped.",
        try_="`accord data check FILE`.",
        stages=READS,
        file=ROWS,
    ),
    "dropped": Entry(
        "Rows left out, by reason.",
        healthy="Held-out rows, and few others.",
        bad=f"More than {percent(ROWS_LOST)} for reasons that the recipe does not ask for "
        "(rows_dropped).",
        try_="The reasons in rows.json say what to mend: raise max_length, remove duplicates.",
        stages=READS,
        file=ROWS,
    ),
    "truncated": Entry(
        "Rows shortened to fit, by reason.",
        healthy="Few.",
        bad=f"More than {percent(ROWS_LOST)} (rows_truncated): answers lose their ends.",
        try_="Raise max_length.",
        stages=READS,
        file=ROWS,
    ),
    "notes": Entry("Counts that neither keep nor drop a row.", stages=READS, file=ROWS),
    "bits_per_byte": Entry(
        "Bits the model needs for a byte of held-out text: comparable between tokenizers.",
        healthy="Falling from stage to stage on the text that matters. General English of large "
        "models: below 1; models of a few million parameters: 1.5 to 2.",
        bad="Higher after fine-tuning, on text of the earlier stage: it forgets.",
        try_="Mix earlier text into data; a lower lr; fewer epochs.",
        formula="Σ -log₂ π(token) / bytes",
        stages=LANGUAGE,
        file=HELDOUT,
    ),
    "tokens_per_kb": Entry(
        "Tokens for 1,000 bytes of text: fewer is better.",
        healthy="200 to 300 for English with a vocabulary of tens of thousands.",
        bad="Far more for one script than for another: that script is read and written slowly.",
        try_="More of that text in the tokenizer's data, a larger vocab_size, pattern: indic.",
        stages=TOKENIZER,
        file=MEASURED,
    ),
    "bytes_per_token": Entry(
        "Bytes of text a token stands for: more is better.", stages=TOKENIZER, file=MEASURED
    ),
    "fertility": Entry("Tokens a word.", stages=TOKENIZER, file=MEASURED),
    "p95_tokens": Entry(
        "95 of 100 lines have at most this many tokens.", stages=TOKENIZER, file=MEASURED
    ),
}

KEYS: Mapping[str, Entry] = {
    "HeldoutConfig.fraction": Entry(
        healthy="0.05 to 0.1, some hundred rows at least.",
        bad="0: overfitting cannot be seen, and prompts of the evaluation were trained on.",
        try_="The same value and salt in every stage, so that they hold out the same rows.",
    ),
    "SourceConfig.weight": Entry(
        healthy="None: every row once. With weights: what the stage is for, more often.",
        bad="A small source with a large share: its rows are seen many times.",
        try_="See `seen again (mixture)` in rows.json.",
    ),
    "SourceConfig.fraction": Entry(
        healthy="1; less for a trial, or to balance large sources.",
        bad="Small: comparisons between runs rest on few rows.",
        try_="Keep the seed: the same rows are then drawn.",
    ),
    "SourceConfig.on_bad_row": Entry(
        healthy="error.",
        bad="skip hides a format that is misread: it refuses more than 1 %.",
        try_="`accord data check FILE` names every bad row.",
    ),
    "SourceConfig.group": Entry(
        healthy="The document, conversation or author that rows share.",
        bad="None where rows of one text are alike: held-out rows are nearly trained on.",
        try_="group_pattern for a part of the field.",
    ),
    "TokenizerStage.vocab_size": Entry(
        healthy="A few thousand for models of a few million parameters, 32,000 to 128,000 for "
        "large ones.",
        bad="Large for a small model: most parameters lie in the embedding. Small: texts become "
        "long.",
        try_="Compare tokens_per_kb and bits_per_byte, not loss.",
    ),
}
