"""Write a small corpus for `examples/tiny.yaml`: the same seed gives the same bytes.

python examples/make_tiny_data.py [FOLDER]      FOLDER is tiny-data unless given
"""

import json
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

GOOD = [
    "warm",
    "funny",
    "bright",
    "clever",
    "lovely",
    "moving",
    "honest",
    "rich",
    "gentle",
    "brave",
]
BAD = ["dull", "empty", "noisy", "clumsy", "cold", "weary", "shallow", "tired", "grim", "bland"]
PARTS = [
    "story",
    "cast",
    "script",
    "music",
    "ending",
    "camera",
    "first",
    "act",
    "dialogue",
    "pace",
    "idea",
]
FILMS = ["film", "movie", "picture", "drama", "comedy", "thriller"]
PEOPLE = ["Ana", "Bela", "Chen", "Dara", "Emil", "Farah", "Goran", "Hana"]
ANIMALS = ["fox", "crow", "hare", "otter", "heron", "badger"]
PLACES = ["river", "forest", "market", "harbour", "valley", "garden"]
THINGS = ["bread", "lamp", "map", "apple", "key", "song"]

Row = Mapping[str, Any]


def reviews(count: int, draw: random.Random) -> list[tuple[str, str, str]]:
    """Reviews as (id, rating from -4 to 4, text): the rating follows from the words."""
    rows = []
    for number in range(count):
        leaning = draw.random()
        words = [draw.choice(GOOD if draw.random() < leaning else BAD) for _ in range(3)]
        score = sum(1 if word in GOOD else -1 for word in words) * 4 / 3
        parts = draw.sample(PARTS, 2)
        text = (
            f"A {words[0]} {draw.choice(FILMS)} with a {words[1]} {parts[0]} "
            f"and a {words[2]} {parts[1]}, made by {draw.choice(PEOPLE)}."
        )
        rows.append((f"review-{number}", f"{score:.2f}", text))
    return rows


def stories(count: int, draw: random.Random) -> list[Row]:
    """Three sentences each, as `{"text": ...}`."""
    rows = []
    for _ in range(count):
        animal, other = draw.sample(ANIMALS, 2)
        place, thing = draw.choice(PLACES), draw.choice(THINGS)
        text = (
            f"A {draw.choice(GOOD)} {animal} lived by the {place}. One day the {other} "
            f"{draw.choice(['hid', 'found', 'lost', 'asked for'])} the {thing} there. "
            f"They shared the {thing}, and {draw.choice(PEOPLE)} told a {draw.choice(GOOD)} tale."
        )
        rows.append({"text": text})
    return rows


def question(draw: random.Random) -> tuple[str, str, str]:
    """A question with a helpful and an unhelpful answer."""
    animal, place, thing = draw.choice(ANIMALS), draw.choice(PLACES), draw.choice(THINGS)
    asker = draw.choice(PEOPLE)
    return (
        f"{asker} asks: where did the {animal} leave the {thing}?",
        f"The {animal} left the {thing} by the {place}, {draw.choice(GOOD)} {asker}.",
        f"That is a {draw.choice(BAD)} question.",
    )


def chats(count: int, draw: random.Random) -> list[Row]:
    """Conversations of one or two turns, as `{"messages": [...]}`."""
    rows = []
    for _ in range(count):
        messages = []
        for _ in range(draw.choice([1, 1, 2])):
            asked, answer, _ = question(draw)
            messages += [_message("user", asked), _message("assistant", answer)]
        rows.append({"messages": messages})
    return rows


def preferences(count: int, draw: random.Random) -> list[Row]:
    """Rows of `prompt`, `chosen` and `rejected`; in the last one the two answers are equal."""
    rows = []
    for number in range(count):
        asked, good, bad = question(draw)
        bad = good if number == count - 1 else bad
        rows.append(
            {
                "prompt": [_message("user", asked)],
                "chosen": [_message("assistant", good)],
                "rejected": [_message("assistant", bad)],
            }
        )
    return rows


def write(folder: Path, seed: int = 1) -> Path:
    """Write reviews.tsv, stories.jsonl, chat.jsonl and preferences.jsonl; gives the folder."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rated = reviews(240, draw)
    # one line twice: the row account of the report has something to count
    rated.append(rated[0])
    lines = ("\t".join(row) for row in (("id", "rating", "text"), *rated))
    (folder / "reviews.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    _write_jsonl(folder / "stories.jsonl", stories(160, draw))
    _write_jsonl(folder / "chat.jsonl", chats(80, draw))
    _write_jsonl(folder / "preferences.jsonl", preferences(80, draw))
    return folder


def _message(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    print(write(Path(*sys.argv[1:2] or ["tiny-data"])))
