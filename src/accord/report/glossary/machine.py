"""Speed and memory, and the settings that decide them."""

from collections.abc import Mapping

from accord.report.glossary.entry import LANGUAGE, TRAINED, Entry

METRICS: Mapping[str, Entry] = {
    "tokens_per_second": Entry(
        "Tokens read a second of training, padding not counted; evaluation and saving do not "
        "count.",
        healthy="Steady. Compare with the same model and max_length on the same machine.",
        bad="Falling over a run: the machine is shared, or rows grow longer.",
        try_="micro_batch_tokens, precision: bf16 on a GPU, compile for fixed shapes; `accord "
        "doctor` looks at threads.",
        stages=TRAINED,
    ),
    "pairs_per_second": Entry(
        "Pairs read a second of training.",
        healthy="Compare at equal lengths only.",
        bad="Low with short pairs: micro-batches are too small.",
        try_="micro_batch_tokens.",
        stages=("preference", "reward"),
    ),
    "peak_memory_bytes": Entry(
        "Most memory used so far, in bytes: the GPU's, or the process's on a CPU.",
        healthy="Level after the first steps with their longest rows.",
        bad="Growing over the run; near what the machine has.",
        try_="Halve micro_batch_size or micro_batch_tokens; gradient_checkpointing; lora.",
        stages=TRAINED,
    ),
    "runtime": Entry(
        "Seconds that the evaluation took.",
        healthy="A small part of the time between two evaluations.",
        bad="More than training itself.",
        try_="Lower eval_rows or raise eval_every.",
        stages=(*LANGUAGE, "reward", "preference"),
    ),
}

KEYS: Mapping[str, Entry] = {
    "TrainConfig.precision": Entry(
        healthy="fp32 on CPUs without bf16 units and for exact repetition; bf16 on GPUs.",
        bad="bf16 halves what activations take and rounds to about three digits: log-probabilities "
        "differ in the third.",
        try_="bf16 keeps fp32 master weights here, so that small updates are not lost.",
    ),
    "TrainConfig.compile": Entry(
        healthy="true for long runs of fixed shapes on a GPU.",
        bad="true with ragged batches on a CPU: compiling costs more than it gains.",
        try_="Compare tokens_per_second after a hundred steps.",
    ),
    "TrainConfig.gradient_checkpointing": Entry(
        healthy="false while memory lasts.",
        bad="true: about a third more time a step.",
        try_="A smaller micro-batch first; true for long sequences.",
    ),
}
