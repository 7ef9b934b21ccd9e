"""Small made-up languages, and the models that the planted runs start from.

A world is its data and the three stages before the one that is looked at: tokenizer, base and SFT
model. They are trained once for a world and a seed and copied into each run's folder, where the
runner finds that they stand.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD = ("warm", "funny", "bright", "clever", "lovely", "moving", "honest", "gentle", "brave")
BAD = ("dull", "empty", "noisy", "clumsy", "cold", "weary", "shallow", "grim", "bland")
PARTS = ("story", "cast", "script", "music", "ending", "camera", "pace", "idea")
FILMS = ("film", "movie", "picture", "drama", "comedy", "thriller")
PEOPLE = ("Ana", "Bela", "Chen", "Dara", "Emil", "Farah", "Goran", "Hana")
ANIMALS = ("fox", "crow", "hare", "otter", "heron", "badger", "mole", "wren", "toad", "lynx")
PLACES = ("river", "forest", "market", "harbour", "valley", "garden")
THINGS = ("bread", "lamp", "map", "apple", "key", "drum", "coat", "ring", "boat", "cup")
NOISE = 0.2
"""Share of pairs whose better answer is the worse one: people do not agree either."""

Row = Mapping[str, Any]
Stages = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class World:
    """A language to train on.

    Args:
        name: Its name.
        write: Writes the data into a folder, from a generator.
        prompts: What rollouts and evaluation take of a row, as settings of either.
        pairs: Settings with which a stage on pairs reads its data.
    """

    name: str
    write: Callable[[Path, random.Random], None]
    prompts: Mapping[str, Any]
    pairs: Mapping[str, Any]


def _review(draw: random.Random) -> tuple[float, str]:
    leaning = draw.random()
    words = [draw.choice(GOOD if draw.random() < leaning else BAD) for _ in range(3)]
    one, other = draw.sample(PARTS, 2)
    text = (
        f"A {words[0]} {draw.choice(FILMS)} with a {words[1]} {one} "
        f"and a {words[2]} {other}, made by {draw.choice(PEOPLE)}."
    )
    return sum(1 if word in GOOD else -1 for word in words) * 4 / 3, text


def _answer(draw: random.Random, good: bool | None = None) -> tuple[str, str]:
    """A question and its answer, in the mood that is asked for."""
    animal, thing, asker = draw.choice(ANIMALS), draw.choice(THINGS), draw.choice(PEOPLE)
    good = draw.random() < 0.5 if good is None else good
    asked = f"{asker} asks: where did the {animal} leave the {thing}?"
    mood = draw.choice(GOOD if good else BAD)
    return asked, f"The {animal} left the {thing} by the {draw.choice(PLACES)}, {mood} {asker}."


def _with_mood(answer: str, draw: random.Random, good: bool) -> str:
    head, name = answer[: answer.rindex(",")], answer.rsplit(" ", 1)[1]
    head = f"{head.rsplit(' ', 1)[0]} {draw.choice(PLACES)}"
    return f"{head}, {draw.choice(GOOD if good else BAD)} {name}"


def _said(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _pair(asked: str, chosen: str, rejected: str) -> Row:
    sides = {"chosen": chosen, "rejected": rejected}
    answers = {side: [_said("assistant", text)] for side, text in sides.items()}
    return {"asked": asked, "prompt": [_said("user", asked)], **answers}


def _pairs(count: int, draw: random.Random) -> list[Row]:
    rows = []
    while len(rows) < count:
        asked, answer = _answer(draw)
        good, bad = (_with_mood(answer, draw, side) for side in (True, False))
        rows.append(_pair(asked, *((bad, good) if draw.random() < NOISE else (good, bad))))
    return rows


def _gibberish(count: int, draw: random.Random) -> list[Row]:
    """Pairs whose rejected answer is letters at random."""
    rows = []
    for row in _pairs(count, draw):
        chosen = row["chosen"][0]["content"]
        letters = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz     ") for _ in chosen)
        rows.append({**row, "rejected": [_said("assistant", f"{letters.strip()}.")]})
    return rows


def _obvious(count: int, draw: random.Random) -> list[Row]:
    """Pairs that one word tells apart, always."""
    rows = []
    for row in _pairs(count, draw):
        answer = row["chosen"][0]["content"].rsplit(", ", 1)[0]
        name = row["chosen"][0]["content"].rsplit(" ", 1)[1]
        asked = row["prompt"][0]["content"]
        rows.append(_pair(asked, f"{answer}, warm {name}", f"{answer}, grim {name}"))
    return rows


def _alike(count: int, draw: random.Random) -> list[Row]:
    """Pairs of one answer but for its place, in which nothing is better."""
    rows = []
    for row in _pairs(count, draw):
        answer, asked = row["chosen"][0]["content"], row["prompt"][0]["content"]
        head, tail = answer.rsplit(" by the ", 1)
        places = draw.sample(PLACES, 2)
        sides = (f"{head} by the {place}, {tail.split(', ')[1]}" for place in places)
        rows.append(_pair(asked, *sides))
    return rows


def _reviews(folder: Path, draw: random.Random) -> None:
    rated = [_review(draw) for _ in range(600)]
    lines = ["id\trating\ttext", *(f"r{i}\t{s:.2f}\t{t}" for i, (s, t) in enumerate(rated))]
    (folder / "text.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _chats(folder: Path, draw: random.Random) -> None:
    answered = [_answer(draw) for _ in range(600)]
    _write(folder / "text.jsonl", (_chat(*pair) for pair in answered))
    _write(folder / "plain.jsonl", (_plain(*pair) for pair in answered))
    _write(folder / "again.jsonl", (_chat(*pair) for pair in reversed(answered)))
    for name, make in (("pairs", _pairs), ("gibberish", _gibberish), ("obvious", _obvious)):
        _write(folder / f"{name}.jsonl", make(600, draw))
    _write(folder / "alike.jsonl", _alike(600, draw))


def _chat(asked: str, answer: str) -> Row:
    return {"asked": asked, "messages": [_said("user", asked), _said("assistant", answer)]}


def _plain(asked: str, answer: str) -> Row:
    return {"asked": asked, "text": f"{asked} {answer}"}


def _two_scripts(folder: Path, draw: random.Random) -> None:
    """Chats of which one in eight is answered in another script."""
    answered = []
    for _ in range(600):
        asked, answer = _answer(draw)
        strange = f"{asked.split(' ')[0]} не знает этого слова."
        answered.append((asked, strange if draw.random() < 0.125 else answer))
    _write(folder / "text.jsonl", (_chat(*pair) for pair in answered))
    _write(folder / "plain.jsonl", (_plain(*pair) for pair in answered))


def _write(path: Path, rows: Iterable[Row]) -> None:
    lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


RATED = {"kind": "rated", "rating": "rating", "gap": 2, "length_ratio": 1.5}
WORLDS: Mapping[str, World] = {
    "reviews": World("reviews", _reviews, {"first_words": 2}, {"pairs": RATED}),
    "chats": World("chats", _chats, {}, {}),
    "scripts": World("scripts", _two_scripts, {}, {}),
}


def write_data(world: World, folder: Path, seed: int) -> None:
    """The world's files, the same bytes for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    world.write(folder, random.Random(f"{world.name} {seed}"))


def source(world: World, file: str = "text") -> dict[str, Any]:
    """A source of rows in a recipe that runs where the data is."""
    if world.name == "reviews" and file == "text":
        return {"name": file, "source": "data/text.tsv"}
    # a question is asked in several rows and files, which are held out together
    return {"name": file, "source": f"data/{file}.jsonl", "group": "asked"}


HELDOUT = {"fraction": 0.15}


def foundation(world: World) -> Stages:
    """Tokenizer, base and SFT model of a world."""
    text = [source(world)]
    plain = text if world.name == "reviews" else [source(world, "plain")]
    return {
        "tokenizer": {
            "kind": "tokenizer",
            "vocab_size": 420,
            "chat_template": "chatml",
            "heldout": HELDOUT,
            "data": plain,
        },
        "base": {
            "kind": "pretrain",
            "tokenizer": "tokenizer",
            "heldout": HELDOUT,
            "data": plain,
            "model": {
                "preset": "llama",
                "hidden_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 128,
                "max_position_embeddings": 128,
            },
            "steps": 150,
            "batch_size": 12,
            "max_length": 64,
            "lr": 1.0e-2,
            "warmup_ratio": 0.1,
        },
        "sft": {
            "kind": "sft",
            "from": "base",
            "heldout": HELDOUT,
            "data": text,
            "steps": 80,
            "batch_size": 16,
            "max_length": 96,
            "lr": 3.0e-3,
            "schedule": "linear",
        },
    }
