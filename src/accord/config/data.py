"""Where rows come from, how they are read, and which of them are held out."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Strict
from accord.config.generate import SamplingConfig
from accord.config.rewards import RewardTerm
from accord.config.tasks import TASK, parse_task


class SourceConfig(Strict):
    """One source of rows: a file, a folder, `hub:owner/name[:split]` or a file in a package."""

    source: str
    """`file.jsonl[.gz]`, `.json`, `.parquet`, `.txt`, `.tsv`, `.csv`, a folder,
    `hub:owner/name[/subset][:split]`,
    `pypi:name==version!path/in/archive[!path/in/inner/archive]` (read without import), or
    `task:name` (problems with a verifiable answer, made from `options`)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of a task: `count`, `seed` and the task's own."""
    name: str | None = None
    """Key of the source in the row account and in metrics; none: `source` itself."""
    sha256: str | None = None
    """Hash of the downloaded package archive; required for `pypi:`."""
    columns: tuple[str, ...] | None = None
    """Column names of a table without a header line (tab-separated, unless `.csv`)."""
    language: str | None = None
    """Language of its rows, by which preference metrics are kept apart: a name (`ko`), a column
    (`column:lang`), or `detect` (the extra `rewards`)."""
    strings: Literal["text", "turns"] = "text"
    """What plain strings are: text that runs on, which takes no chat template; or turns of a chat,
    the prompt said by the user and the answers by the assistant."""
    encoding: str = "utf-8"
    """Of text files; a byte-order mark is accepted."""
    fields: dict[str, str] | None = None
    """Standard column name to the row's own, dotted for nested ones: {text: input.1.content}."""
    extract: dict[str, str] | None = None
    """Keep only the part of a field that the regular expression matches (its first group, if it
    has one); rows where it does not match are counted."""
    group: str | None = None
    """Field whose value keeps rows together when they are held out."""
    group_pattern: str | None = None
    """Regular expression; the part of the group field that it matches is the key."""
    match: dict[str, str] | None = None
    """Keep only rows whose field matches the regular expression; the others are counted."""
    min_words: int | None = None
    """Drop shorter texts; they are counted."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the training tokens (pretraining), relative to the other sources' weights; none
    for all sources: everything once."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Keep int(fraction * sound rows), drawn without replacement from the seed."""
    on_bad_row: Literal["error", "skip"] = "error"
    """Strict by default; `skip` counts them and refuses more than 1 %."""

    @model_validator(mode="after")
    def _options(self) -> Self:
        if self.source.startswith(TASK):
            parse_task(self.source.removeprefix(TASK), self.options)
        elif self.options:
            raise ValueError(f"only a source {TASK}name has options; delete them")
        return self


class HeldoutConfig(Strict):
    """Rows kept from training: chosen by a hash of their content or group, never by position."""

    fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the rows (or groups) that is kept from training."""
    salt: str = "accord"
    """Word mixed into the hash: another one holds out other rows."""
    prompts: tuple[str, ...] = ()
    """Rows that ask one of these are held out too, whatever their hash: the prompts that an
    evaluation writes out."""


class RatedPairs(Strict):
    """Pairs from rated texts: the higher rating is chosen."""

    kind: Literal["rated"] = "rated"
    rating: str = "rating"
    """Field that holds the number."""
    gap: float = Field(default=1.5, gt=0)
    """Smallest difference of ratings in a pair."""
    length_ratio: float | None = 1.25
    """Longest to shortest in words; none: any."""
    pairs_per_row: int = Field(default=2, gt=0)
    """Each text is used as chosen at most this often."""


class SampledPairs(Strict):
    """Pairs whose rejected (or both) responses are sampled from a named model."""

    kind: Literal["sampled"] = "sampled"
    rejected: str
    """Stage or folder of the model that answers for the rejected side."""
    chosen: str | None = None
    """Stage or folder that answers for the chosen side; none: the data's own response."""
    rejected_sampling: SamplingConfig = SamplingConfig()
    chosen_sampling: SamplingConfig = SamplingConfig()


class JudgedPairs(Strict):
    """Pairs of completions that one model samples and a known reward judges; the tokens trained on
    are those that were drawn."""

    kind: Literal["judged"] = "judged"
    from_: str = Field(alias="from")
    """Stage or folder of the model that writes both sides."""
    reward: tuple[RewardTerm, ...] = Field(min_length=1)
    """What judges completions: the weighted sum of these."""
    samples: int = Field(default=4, ge=2)
    """Completions of each prompt."""
    label: Literal["best_worst", "bradley_terry"] = "best_worst"
    """best_worst: the best of the completions against the worst; bradley_terry: every two of them
    are a pair, the first chosen with probability σ(reward - reward of the second), so that a
    term's weight says how sure the labels are."""
    sampling: SamplingConfig = SamplingConfig()
    first_words: int | None = Field(default=None, gt=0)
    """Use the first words of a text as the prompt (a continuation, not a chat turn)."""
    prompts: int | None = Field(default=None, gt=0)
    """Prompts drawn by the seed out of those to train on, and as large a share of those held out;
    none: all."""


PairsConfig = Annotated[RatedPairs | SampledPairs | JudgedPairs, Field(discriminator="kind")]


def pair_models(pairs: object) -> tuple[tuple[tuple[str | int, ...], str | None], ...]:
    """Models that pairs are made by, each with its key below `pairs`."""
    match pairs:
        case SampledPairs():
            return (("rejected",), pairs.rejected), (("chosen",), pairs.chosen)
        case JudgedPairs():
            judges = ((("reward", i, "model"), t.model) for i, t in enumerate(pairs.reward))
            return (("from",), pairs.from_), *judges
        case _:
            return ()
