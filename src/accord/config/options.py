"""Options whose names depend on what they belong to: a reward function's, a task's."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from accord.config.base import Strict
from accord.config.mistakes import describe, keys
from accord.errors import did_you_mean


class NoOptions(Strict):
    """For what takes no option."""


def parse_options(model: type[Strict], options: Mapping[str, Any], owner: str) -> Any:
    """`options` as an instance of `model`.

    Args:
        model: What may be said.
        options: What was said.
        owner: What they belong to, as messages call it: `the reward 'regex'`.

    Raises:
        ValueError: The first mistake, as `what; how to mend it`.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        # an unknown name first: it may be the misspelling of one that is missing
        found = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    name = str(found["loc"][0]) if found["loc"] else ""
    if found["type"] == "extra_forbidden":
        hint = did_you_mean(name, keys(model)) or "it takes none"
        raise ValueError(f"{owner} has no option '{name}'; {hint}")
    if found["type"] == "missing":
        raise ValueError(f"{owner} needs the option '{name}'; options: {{{name}: …}}")
    if found["type"] == "value_error":
        raise ValueError(f"{owner}: {found['msg'].removeprefix('Value error, ')}")
    field = model.model_fields[name]
    expected = describe(field.annotation, field.metadata)
    raise ValueError(f"option '{name}' of {owner} is {found['input']!r}; expected {expected}")
