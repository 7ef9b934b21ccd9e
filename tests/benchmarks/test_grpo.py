"""The GRPO row's contenders do the same work: so many tokens, one loss, one gradient."""

from pathlib import Path
from typing import Any

import pytest

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


class OneStep:
    """Stands in for the harness's gate: lets one step run, keeps what is noted."""

    def __init__(self) -> None:
        self.begun = 0
        self.notes: dict[str, float] = {}

    def step(self) -> None:
        from harness import Finished

        self.begun += 1
        if self.begun == 2:
            raise Finished

    def note(self, name: str, value: float) -> None:
        self.notes.setdefault(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    import work

    return work.write_model(tmp_path / "small", work.STUDY | SMALL)


def run(contender: Any, folder: str, **settings: Any) -> OneStep:
    from harness import Finished

    gate = OneStep()
    with pytest.raises(Finished):
        contender(gate, folder, **settings)
    return gate


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accord_and_the_plain_loop_have_one_gradient_on_the_same_completions(
    precision: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    import grpo
    import work
    from plain import group_advantages, policy_loss

    drawn: list[Any] = []
    collector = grpo.collector

    def kept(*given: Any) -> Any:
        drawn.append(collector(*given))
        return drawn[0]

    monkeypatch.setattr(grpo, "collector", kept)
    notes = run(grpo.accord, folder, precision=precision).notes
    rows = drawn[0].rows(0)
    ids = [row.example.prompt + r.ids for row in rows for r in row.example.responses]
    assert len(rows) == grpo.PROMPTS
    assert {len(sequence) for sequence in ids} == {work.PROMPT + grpo.NEW}
    assert len(ids) == grpo.PROMPTS * grpo.COMPLETIONS
    rewards = torch.tensor([grpo.mean_id(sequence[work.PROMPT :]) for sequence in ids])

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    advantages = group_advantages(rewards, grpo.COMPLETIONS)
    loss = policy_loss(model, torch.tensor(ids), advantages, grpo.NEW)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert notes["first_loss"] == pytest.approx(0, abs=1e-6)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    exact = precision == "fp32"
    assert notes["first_grad_norm"] == pytest.approx(norm.item(), rel=1e-4 if exact else 2e-2)


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
def test_other_completions_have_a_gradient_of_about_that_size(folder: str) -> None:
    import grpo

    plain = run(grpo.plain, folder).notes["first_grad_norm"]
    # its rewards refuse completions of any other length
    trl = run(grpo.trl, folder).notes["first_grad_norm"]
    assert 0.5 < trl / plain < 2
