import io

import pytest
from rich.console import Console

from accord.train.progress import Bar, Lines, clock, display, summary


def plain(steps: int, metrics: dict[str, float]) -> list[str]:
    stream = io.StringIO()
    with display(Console(file=stream, width=60), "sft", 0, steps) as shown:
        for step in range(1, steps + 1):
            shown.update(step, metrics)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("steps", [1, 7, 20, 150, 1000])
def test_plain_lines_are_about_twenty_and_end_with_the_last_step(steps: int) -> None:
    lines = plain(steps, {"loss": 2.0, "tokens_per_second": 18_234.0})
    assert len(lines) == min(steps, len(lines)) <= 21
    assert len(lines) >= min(steps, 17)
    assert lines[-1] == f"sft: step {steps}/{steps}  loss 2.000  18.2k tok/s  0:00 left"


def test_a_step_without_a_line_of_its_own_shows_the_latest_metrics() -> None:
    stream = io.StringIO()
    lines = Lines(Console(file=stream, width=200), "dpo", 0, 2)
    lines.update(1, {"loss": 0.5})
    lines.update(2, {})
    assert [line.split("  ")[1] for line in stream.getvalue().splitlines()] == ["loss 0.500"] * 2


def test_every_evaluation_gets_a_line() -> None:
    stream = io.StringIO()
    with display(Console(file=stream, width=200), "sft", 0, 1000) as shown:
        shown.update(1, {"loss": 1.0, "eval_loss": 2.0})
        shown.update(2, {"loss": 1.0})
    assert stream.getvalue().count("\n") == 1
    assert "eval_loss 2.000" in stream.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with display(console, "base", 5, 10) as shown:
        assert isinstance(shown, Bar)
        shown.update(6, {"loss": 1.25, "tokens_per_second": 900.0, "pairs_per_second": 12.5})
        shown.update(10, {})
    out = stream.getvalue()
    assert "10/10" in out and "loss 1.250" in out and "900.0 tok/s" in out and "12.5 pairs/s" in out


def test_summary_leaves_out_what_is_not_there() -> None:
    assert summary({"loss": None}) == ""


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 61, 3725)] == ["0:00", "1:00", "1:01", "1:02:05"]
