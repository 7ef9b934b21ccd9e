"""What a preference stage may say of its loss, and what is said of a slip."""

import pytest

from accord.config.document import Document
from accord.config.load import validate
from accord.config.preference import PreferenceStage
from accord.errors import AccordError


def stage(**others: object) -> PreferenceStage:
    given = {"kind": "preference", "from": "a", "data": [{"source": "x"}], "steps": 1, **others}
    return validate(PreferenceStage, Document(given, {}, "stage"))


def test_one_loss_or_several() -> None:
    assert stage(loss="hinge").losses == {"hinge": 1.0}
    assert stage(loss={"sigmoid": 0.8, "sft": 0.2}).losses == {"sigmoid": 0.8, "sft": 0.2}


@pytest.mark.parametrize(
    ("given", "what", "fix"),
    [
        ({"loss": "sigmod"}, "unknown loss 'sigmod'", "did you mean 'sigmoid'?"),
        ({"loss": {"sigmoid": 1, "sftt": 2}}, "unknown loss 'sftt'", "did you mean 'sft'?"),
        ({"loss": {"kto": 1}}, "kto is of labelled answers", "it stands alone: loss: kto"),
        ({"loss": {"sft": -1}}, "the weight of sft is -1", "give a number above 0"),
        ({"loss": {"sft": "a"}}, "the weight of sft is a", "give a number above 0"),
        ({"loss": 3}, "loss names no loss", "write one, such as sigmoid"),
        ({"loss": {}}, "loss names no loss", "write one, such as sigmoid"),
        ({"learning_rate": 1e-3}, "unknown key 'learning_rate'", "here it is lr"),
        (
            {"sft_weight": 0.1},
            "unknown key 'sft_weight'",
            "here it is loss: {sigmoid: 1, sft: 0.1}",
        ),
        ({"peft_config": {}}, "unknown key 'peft_config'", "here it is lora"),
        ({"betta": 0.1}, "unknown key 'betta'", "did you mean 'beta'?"),
        ({"target_kl": 1}, "unknown key 'target_kl'", ""),  # of a stage that has no such key
    ],
)
def test_a_slip_is_told_what_is_meant(given: dict[str, object], what: str, fix: str) -> None:
    with pytest.raises(AccordError) as caught:
        stage(**given)
    assert caught.value.what == what
    assert caught.value.fix.startswith(fix)
    assert "here it is kl_target" not in caught.value.fix
