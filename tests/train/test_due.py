from hypothesis import given
from hypothesis import strategies as st

from accord.config.train import TrainConfig
from accord.train.due import due

CONFIG = TrainConfig(steps=40)


def steps(what: str, total: int = 40, **settings: object) -> list[int]:
    config = CONFIG.model_copy(update=settings)
    return [step for step in range(1, total + 1) if getattr(due(step, total, config), what)]


def test_a_run_has_about_ten_checkpoints_and_one_at_its_end():
    assert steps("saves") == list(range(4, 41, 4))
    assert steps("saves", total=3) == [1, 2, 3]
    assert steps("saves", save_every=15, keep_steps=(7,)) == [7, 15, 30, 40]


def test_held_out_rows_are_read_at_the_end_and_as_often_as_asked():
    assert steps("evaluates") == [40]
    assert steps("evaluates", eval_every=16) == [16, 32, 40]


def test_the_first_step_and_every_checkpoint_are_logged():
    assert steps("logs", log_every=10, save_every=15) == [1, 10, 15, 20, 30, 40]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_what_is_saved_is_logged_and_the_last_step_is_all(total: int, log: int, save: int):
    config = CONFIG.model_copy(update={"log_every": log, "save_every": save})
    calls = [due(step, total, config) for step in range(1, total + 1)]
    assert all(call.logs for call in calls if call.saves)
    assert calls[-1].saves and calls[-1].evaluates
