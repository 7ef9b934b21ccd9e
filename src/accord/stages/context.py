"""What a stage is handed beside its configuration."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from accord.errors import AccordError


@dataclass(frozen=True)
class StageContext:
    """Where a stage writes, what it starts from, and the seed it draws from.

    Args:
        name: The stage's name in the recipe; a single command's is its kind.
        folder: The artifact: exists when the stage starts. `folder / "accord"` holds its records;
            `stage.json` there is written by the pipeline, after the stage has returned.
        inputs: Every name of `config.inputs()` to the local folder that it stands for.
        seed: The stage's own seed or, where it sets none, the recipe's.
        base: Folder that relative paths of data are resolved against.
        console: Where progress is printed.
    """

    name: str
    folder: Path
    inputs: dict[str, Path]
    seed: int
    base: Path
    console: Console = field(default_factory=Console)

    def input(self, name: str) -> Path:
        """Folder of the input that the configuration calls `name`.

        Raises:
            AccordError: The stage was not given that input.
        """
        if name not in self.inputs:
            raise AccordError(
                f"stage '{self.name}' was given no input '{name}'",
                f"stages.{self.name}",
                "name it in the stage's settings; given: " + (", ".join(self.inputs) or "none"),
            )
        return self.inputs[name]

    def say(self, lines: Iterable[str]) -> None:
        """Print lines as they are, one under another."""
        for line in lines:
            self.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)

    def warn(self, lines: Iterable[str]) -> None:
        """Print lines that something may be wrong with the run."""
        for line in lines:
            self.console.print(
                f"  {line}", style="yellow", highlight=False, markup=False, soft_wrap=True
            )
