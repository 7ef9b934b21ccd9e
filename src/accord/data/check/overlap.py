"""What a file shares with the file that a model is to be evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.config.data import SourceConfig
from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.check.parts import answers_of, key_of, prompt_of
from accord.data.check.reading import read_source
from accord.data.rows import Row
from accord.data.split import content_key


@dataclass
class Overlap:
    """Prompts that stand in both files, equal but for case, blanks and system prompts.

    Where there is no prompt, the text or the answers are compared.

    Args:
        against: The evaluation's source.
        rows: Rows of the data, with their twins.
        of: Sound rows of the data.
        evaluation: Evaluation rows with a twin.
        of_evaluation: Sound rows of the evaluation.
        same_answer: Rows whose answer is the twin's as well.
    """

    against: str
    rows: Tally = field(default_factory=Tally)
    of: int = 0
    evaluation: int = 0
    of_evaluation: int = 0
    same_answer: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "against": self.against,
            "rows": self.rows.to_json(),
            "of": self.of,
            "evaluation_rows": self.evaluation,
            "of_evaluation": self.of_evaluation,
            "same_answer": self.same_answer,
        }


def overlap_with(rows: Sequence[Row], source: SourceConfig | str | Path, cache: Path) -> Overlap:
    """Compare rows with those of an evaluation file.

    Raises:
        AccordError: The file cannot be read as a whole.
    """
    reading = read_source(source, cache)
    found = Overlap(reading.source.source, of=len(rows), of_evaluation=len(reading.rows))
    asked: dict[bytes, Row] = {}
    said: set[str] = set()
    for row in reading.rows:
        said.add(content_key(row))
        for key in _asked(row):
            asked.setdefault(key, row)
    met: set[bytes] = set()
    for row in rows:
        both = [key for key in _asked(row) if key in asked]
        if both:
            met.update(both)
            found.rows.add(f"{row.where} asks what {asked[both[0]].where} asks")
            found.same_answer += content_key(row) in said
    found.evaluation = sum(not met.isdisjoint(_asked(row)) for row in reading.rows)
    return found


def _asked(row: Row) -> list[bytes]:
    """Key of the prompt without its system turn; of each answer, where there is no prompt."""
    prompt = tuple(message for message in prompt_of(row) if message.role != "system")
    if prompt:
        return [key_of(prompt)]
    return [key_of(answer) for answer in answers_of(row).values()]


def findings(overlap: Overlap) -> list[Finding]:
    """A warning for prompts in both files."""
    if not overlap.rows.count:
        return []
    says = (
        f"{counted(overlap.rows.count, 'row')} ({share(overlap.rows.count, overlap.of)}) ask what "
        f"{overlap.evaluation:,} of {counted(overlap.of_evaluation, 'row')} "
        f"({share(overlap.evaluation, overlap.of_evaluation)}) of the evaluation ask; "
        f"{overlap.same_answer:,} with the same answer."
    )
    advice = "take them out of one side: a score on them measures memory"
    return [Finding("warning", "overlap", says, advice, tuple(overlap.rows.places))]
