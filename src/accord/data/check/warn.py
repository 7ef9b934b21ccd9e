"""What a stage says before it trains, out of the rows and tokens it holds anyway."""

from collections.abc import Sequence

from accord.data.check import bias, repeats, turns
from accord.data.check.finding import counted, share
from accord.data.check.parts import keys_of
from accord.data.check.tokens import MANY_CUT
from accord.data.packing import Example
from accord.data.rows import PairRow, Row

SAID = frozenset({"normalised_duplicates", "duplicates", "contradictory", "equal_sides"})


def warnings_of(
    rows: Sequence[Row],
    examples: Sequence[Example],
    max_length: int | None = None,
    template: str | None = None,
) -> list[str]:
    """One sentence each on what would spoil training on these rows; none where all is well.

    Args:
        rows: The rows to train on.
        examples: Their tokens, one each, before they are cut to `max_length`.
        max_length: The limit; none: nothing is said of what it cuts.
        template: The chat template that they are rendered with, if the model has one.
    """
    keys = [keys_of(row) for row in rows]
    again = repeats.repeats_of(rows, keys)
    found = [
        finding
        for finding in repeats.findings(again, len(rows))
        if finding.severity == "warning"
        and (finding.name in SAID or finding.name.startswith("same_"))
    ]
    found += turns.untemplated(rows, template)
    pairs = [i for i, row in enumerate(rows) if isinstance(row, PairRow)]
    if pairs:
        chosen, rejected = ([len(examples[i].responses[s].ids) for i in pairs] for s in (0, 1))
        prompts = [keys[i].prompt or i for i in pairs]
        found += bias.findings(bias.length_bias(chosen, rejected, prompts, "tokens"))
    said = [
        f"{finding.says} {finding.advice[:1].upper()}{finding.advice[1:]}."
        for finding in found
        if finding.severity == "warning"
    ]
    cut = sum(example.length > max_length for example in examples) if max_length else 0
    if cut > MANY_CUT * len(rows):
        said.append(
            f"{counted(cut, 'row')} ({share(cut, len(rows))}) longer than {max_length} tokens: "
            "cut, or dropped where no response is left. Raise max_length."
        )
    return said
