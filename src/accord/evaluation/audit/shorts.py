"""Short answers that are right beside fluent nonsense of forty words.

A judge of answers must prefer "Paris" to a smooth paragraph about nothing. The questions are in
English; a model of another language is not judged by them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from accord.evaluation.audit.estimates import share
from accord.evaluation.audit.item import Item, Scores
from accord.evaluation.audit.pairs import Audited
from accord.text.messages import Message

QUESTIONS = (
    ("geography", "What is the capital of France?", "Paris"),
    ("geography", "Which ocean lies between Europe and North America?", "The Atlantic Ocean."),
    ("geography", "On which continent is Kenya?", "Africa"),
    ("geography", "What is the longest river in South America?", "The Amazon."),
    ("arithmetic", "What is 7 times 8?", "56"),
    ("arithmetic", "How many sides does a hexagon have?", "Six."),
    ("arithmetic", "What is half of 90?", "45"),
    ("arithmetic", "How many minutes are there in two hours?", "120 minutes."),
    ("science", "What gas do plants take in from the air to grow?", "Carbon dioxide."),
    ("science", "At how many degrees Celsius does water boil at sea level?", "100"),
    ("science", "What is the chemical symbol for gold?", "Au"),
    ("science", "Which planet is closest to the Sun?", "Mercury"),
    ("history", "In which year did the Second World War end?", "1945"),
    ("history", "Who was the first president of the United States?", "George Washington."),
    ("language", "What is the opposite of 'hot'?", "Cold."),
    ("language", "What is the plural of 'mouse'?", "Mice"),
    ("language", "Which word means a baby dog?", "Puppy"),
    ("arts", "Who wrote 'Romeo and Juliet'?", "William Shakespeare."),
    ("arts", "Who painted the Mona Lisa?", "Leonardo da Vinci."),
    ("arts", "How many strings does a violin usually have?", "Four."),
    ("everyday", "What colour do you get by mixing blue and yellow?", "Green."),
    ("everyday", "Which day comes after Monday?", "Tuesday"),
    ("everyday", "What do bees make?", "Honey."),
    ("everyday", "What falls from the sky as white flakes in winter?", "Snow."),
)
"""Domain, question and an answer that is right and short."""

FEWEST = len(QUESTIONS) // 2
"""Questions below which nothing is said."""

NONSENSE = (
    "It is often said that the gentle measure of a question depends on the window through which "
    "it is poured, and therefore most thoughtful gardens will agree that a careful Wednesday can "
    "remember its own careful, slow and generous ladder.",
    "Of course, many important considerations come together here, because every quiet triangle "
    "has learned to borrow the warmth of its neighbours, and a well prepared curtain will always "
    "answer before the music of the spoon has quite finished being wide.",
    "In general, the best way to think about this is that the evening folds itself into several "
    "reasonable corners, each of which carries a helpful bridge, so that the colour of patience "
    "may travel safely between two very sincere umbrellas.",
    "There are a number of useful perspectives on this matter, and each of them begins with a "
    "kind harbour that forgets its shoes, continues through the opinion of the kettle, and ends "
    "when the shared paper has outgrown its shadow.",
)
"""Grammatical, friendly and about nothing."""


def short_answers(pairs: Audited, with_prompts: bool, scores: Scores) -> dict[str, Any]:
    """Share of the questions whose right short answer scores above nonsense; each is a unit.

    Keys: those of an estimate, `by_domain` (`name`, `right`, `rows`) and `lost` (questions where
    the nonsense wins or ties); or `left_out`, why.
    """
    if not with_prompts:
        return {"left_out": "the model reads no prompts, so it cannot be asked anything"}
    asked = [
        (domain, question, *(_item(pairs, question, text) for text in (answer, _nonsense(number))))
        for number, (domain, question, answer) in enumerate(QUESTIONS)
    ]
    asked = [row for row in asked if all(scores.readable(row[2:]))]
    if len(asked) < FEWEST:
        return {"left_out": f"{len(asked)} of {len(QUESTIONS)} are within what the model reads"}
    ahead_T = scores([row[2] for row in asked]) > scores([row[3] for row in asked])
    right = Counter(row[0] for row, ahead in zip(asked, ahead_T, strict=True) if ahead)
    rows = Counter(row[0] for row in asked)
    return {
        **share(ahead_T, [row[1] for row in asked]).to_json(),
        "by_domain": [{"name": name, "right": right[name], "rows": rows[name]} for name in rows],
        "lost": [row[1] for row, ahead in zip(asked, ahead_T, strict=True) if not ahead],
    }


def _nonsense(number: int) -> str:
    return NONSENSE[number % len(NONSENSE)]


def _item(pairs: Audited, question: str, answer: str) -> Item:
    """Question and answer in the roles that the data's own have."""
    if _roles(pairs.sides[0]) == {"text"}:
        return Item((Message("text", f"{question}\n"),), (Message("text", answer),))
    return Item((Message("user", question),), (Message("assistant", answer),))


def _roles(both: Sequence[Item]) -> set[str]:
    return {message.role for item in both for message in item.answer}
