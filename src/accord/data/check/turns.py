"""Who speaks in the rows, how often, and turns that are odd."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.check.parts import answers_of, prompt_of
from accord.data.rows import Row
from accord.text.messages import Messages

CONTROL_STRINGS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>",
    "[INST]", "[/INST]", "<<SYS>>",
)  # fmt: skip
"""What the control tokens of widespread templates are called."""

TEMPLATED = 0.1
"""Share of rows with control strings from which the data looks rendered already."""
OUTLIER = 10
"""A turn is over-long at this many times the 95 % point of all turns,"""
OUTLIER_CHARACTERS = 2000
"""and at this many characters."""


@dataclass
class Turns:
    """Counts of turns; a row's turns are those of its prompt and of its answers.

    Args:
        counts: Rows by their number of turns, the longest answer's counted.
        roles: Turns by role.
        systems: Rows by the system prompt that they have.
        languages: Rows by language, where the source names one.
        sources: Rows by source.
        empty: Turns in which nothing is said.
        same_role: Rows in which somebody speaks twice running.
        control: Rows whose text holds a control token's name, by that name.
        controlled: Rows that hold any.
        long: Turns that are much longer than the others.
        unprompted: Rows without a prompt.
    """

    counts: Counter[int] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    empty: Tally = field(default_factory=Tally)
    same_role: Tally = field(default_factory=Tally)
    control: dict[str, Tally] = field(default_factory=dict)
    controlled: int = 0
    long: Tally = field(default_factory=Tally)
    unprompted: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "turns": {str(number): rows for number, rows in sorted(self.counts.items())},
            "roles": dict(self.roles),
            "system_prompts": {
                "rows": self.systems.total(),
                "different": len(self.systems),
                "most": [{"text": text, "rows": n} for text, n in self.systems.most_common(3)],
            },
            "languages": dict(self.languages),
            "sources": dict(self.sources),
            "empty_turns": self.empty.to_json(),
            "same_role_running": self.same_role.to_json(),
            "control_strings": {name: tally.to_json() for name, tally in self.control.items()},
            "over_long_turns": self.long.to_json(),
            "without_prompt": self.unprompted,
        }


def turns_of(rows: Sequence[Row], control_tokens: Iterable[str] = ()) -> Turns:
    """Count turns; `control_tokens` of a tokenizer are looked for beside the widespread ones."""
    found, names = Turns(), {*CONTROL_STRINGS, *control_tokens}
    # the longest first, so that none is found inside another
    pattern = re.compile("|".join(re.escape(n) for n in sorted(names, key=lambda n: (-len(n), n))))
    begins = frozenset(name[0] for name in names)
    sizes: list[int] = []
    places: list[str] = []
    for row in rows:
        prompt, answers = prompt_of(row), list(answers_of(row).values())
        said = [*prompt, *(message for answer in answers for message in answer)]
        _count(row, prompt, answers, found)
        for message in said:
            found.roles[message.role] += 1
            sizes.append(len(message.content))
            places.append(row.where)
            if not message.content.strip():
                found.empty.add(f"{row.where} ({message.role})")
        texts = [m.content for m in said if any(mark in m.content for mark in begins)]
        held = dict.fromkeys(name for text in texts for name in pattern.findall(text))
        found.controlled += bool(held)
        for name in held:
            found.control.setdefault(name, Tally()).add(row.where)
    _outliers(sizes, places, found.long)
    return found


def _count(row: Row, prompt: Messages, answers: Sequence[Messages], found: Turns) -> None:
    found.counts[len(prompt) + max((len(answer) for answer in answers), default=0)] += 1
    found.sources[row.source] += 1
    if row.language is not None:
        found.languages[row.language] += 1
    found.unprompted += not prompt
    if prompt and prompt[0].role == "system":
        found.systems[prompt[0].content] += 1
    talks = [[*prompt, *answer] for answer in answers] or [list(prompt)]
    if any(_twice(talk) for talk in talks):
        found.same_role.add(row.where)


def _twice(talk: Messages | list[Any]) -> bool:
    """Whether a role follows itself; plain strings, which run on, always do."""
    roles = [message.role for message in talk]
    return any(a == b != "text" for a, b in pairwise(roles))


def _outliers(sizes: Sequence[int], places: Sequence[str], long: Tally) -> None:
    if not sizes:
        return
    values = np.asarray(sizes)
    limit = max(OUTLIER * float(np.percentile(values, 95)), OUTLIER_CHARACTERS)
    for index in np.flatnonzero(values > limit).tolist():
        long.add(f"{places[index]} ({sizes[index]:,} characters)")


def findings(turns: Turns, rows: int) -> list[Finding]:
    """Odd turns, and text that looks as if a template had been at it."""
    found: list[Finding] = []
    for name, tally, what, advice in (
        ("empty_turns", turns.empty, "with nothing in it", "drop the rows, or fill them"),
        (
            "over_long_turns",
            turns.long,
            f"more than {OUTLIER} times as long as 95 % of all turns",
            "look whether it is one text",
        ),
    ):
        if tally.count:
            says = f"{counted(tally.count, 'turn')} {what}."
            found.append(Finding("warning", name, says, advice, tuple(tally.places)))
    if turns.same_role.count:
        says = f"In {counted(turns.same_role.count, 'row')} a role speaks twice running."
        advice = "join the turns, if the template wants them to alternate"
        found.append(Finding("note", "same_role", says, advice, tuple(turns.same_role.places)))
    if turns.controlled:
        found.append(_control(turns, rows))
    return found


def _control(turns: Turns, rows: int) -> Finding:
    names = ", ".join(f"{name} ({tally.count:,})" for name, tally in turns.control.items())
    of = f"{counted(turns.controlled, 'row')} ({share(turns.controlled, rows)})"
    places = tuple(dict.fromkeys(p for tally in turns.control.values() for p in tally.places))[:3]
    if turns.controlled > TEMPLATED * rows:
        says = f"The text of {of} holds names of control tokens: {names}. It stays text."
        advice = "it looks rendered by a template already: give the messages instead"
        return Finding("warning", "control_strings", says, advice, places)
    says = f"The text of {of} holds names of control tokens, which stay text: {names}."
    return Finding("note", "control_strings", says, "", places)


def untemplated(rows: Sequence[Row], template: str | None) -> list[Finding]:
    """Whether questions and answers are plain strings, which a model's chat template passes by."""
    if template in (None, "plain"):
        return []
    plain = [row for row in rows if (asked := prompt_of(row)) and asked[0].role == "text"]
    if not plain:
        return []
    says = (
        f"{counted(len(plain), 'row')} ({share(len(plain), len(rows))}) with plain strings: they "
        "take no chat template, and this model has one."
    )
    advice = "if they are a chat, say so: strings: turns (data.0.strings=turns in a command)"
    return [Finding("warning", "untemplated", says, advice, (plain[0].where,))]
