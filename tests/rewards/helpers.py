"""Answers and terms for the tests of this room."""

from accord.config.rewards import RewardTerm
from accord.rewards.answer import Answer


def answer(completion: str = "", prompt: str = "", **changes) -> Answer:
    settings = {
        "prompt_ids": (1,),
        "ids": tuple(range(5)),
        "finished": "end",
        "continues": False,
        "name": "tasks.jsonl:7",
    }
    return Answer(prompt, completion, **(settings | changes))


def term(function: str, timeout: float = 10.0, weight: float = 1.0, **options) -> RewardTerm:
    return RewardTerm(function=function, timeout=timeout, weight=weight, options=options)
