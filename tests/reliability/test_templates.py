"""Hostile chat templates, as `make battery` has them."""

from pathlib import Path

from accord.text import Tokenizer
from accord.text.bounded import renderer


def test_every_hostile_template_is_refused(tmp_path: Path) -> None:
    from battery import templates
    from battery.row import Size

    outcome = templates.run(tmp_path, Size())
    assert outcome.passed, outcome.details["failed"]


def test_a_sound_template_is_not_refused_after_a_hostile_one() -> None:
    from battery import templates

    tokenizer = Tokenizer.train(["The film."], 300, chat_template="chatml")
    assert templates.refusal(tokenizer.with_chat_template(templates.HOSTILE["nested loops"]))
    sound = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert templates.refusal(tokenizer.with_chat_template(sound)) == ""
    renderer().close()
    assert templates.refusal(tokenizer.with_chat_template(sound)) == ""
