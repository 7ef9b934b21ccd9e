"""A vocabulary that grows: what stood keeps every bit, what is new is the mean."""

import pytest
import torch
import torch.nn.functional as F

from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model import Decoder, Plan
from accord.model.resize import resized


def model(style: str = "llama", tied: bool = True, rows: int = 29) -> Decoder:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = PRESETS[style] | sizes | {"vocab_size": rows, "tie_word_embeddings": tied}
    return Decoder.init(ModelConfig.model_validate(config), 3)


def logits(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    plan = Plan.dense(1, len(ids))
    with torch.no_grad():
        return decoder.logits(decoder(torch.tensor(ids), torch.arange(len(ids)), plan))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_old_logits_stay_and_new_ones_are_their_mean(style: str, tied: bool) -> None:
    ids = [0, 28, 3, 3, 17, 9]
    before = logits(model(style, tied), ids)
    grown = resized(model(style, tied), 32)
    after = logits(grown, ids)
    assert grown.config.vocab_size == after.shape[1] == 32
    # to the bit by a product of the old size; a wider one may cut its sums elsewhere
    hidden = grown(torch.tensor(ids), torch.arange(6), Plan.dense(1, 6)).detach()
    assert torch.equal(F.linear(hidden, grown.head_weight_VD.detach()[:29]), before)
    torch.testing.assert_close(after[:, :29], before)
    for row in range(29, 32):
        torch.testing.assert_close(after[:, row], before.mean(1))
    # by Jensen's inequality no new token is likelier than the old ones on average
    assert (after.softmax(1)[:, 29:] <= 1 / 32 + 1e-7).all()


@pytest.mark.parametrize("tied", [True, False])
def test_weights_by_name(tied: bool) -> None:
    old, grown = model(tied=tied).state_dict(), resized(model(tied=tied), 40)
    assert (grown.head is None) == tied
    new = grown.state_dict()
    assert set(new) == set(old)
    for name, weight in old.items():
        if name in ("embedding.weight", "head.weight"):
            assert torch.equal(new[name][:29], weight)
            mean = weight.double().mean(0).float()
            assert torch.equal(new[name][29:], mean.expand(11, -1))
        else:
            assert torch.equal(new[name], weight)
    assert all(weight.requires_grad and weight.is_leaf for weight in grown.parameters())
    assert grown.embedding.num_embeddings == 40


def test_a_grown_model_trains_on_its_new_rows() -> None:
    grown = resized(model(), 32)
    hidden = grown(torch.tensor([30, 1]), torch.arange(2), Plan.dense(1, 2))
    grown.logits(hidden)[0, 31].backward()
    gradient = grown.embedding.weight.grad
    assert gradient is not None and gradient[30].any() and gradient[31].any()


def test_the_same_model_grows_to_the_same_bytes_in_any_dtype_and_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        for dtype in (torch.float32, torch.bfloat16):
            found = []
            for count in (1, 2, 1):
                torch.set_num_threads(count)
                found.append(resized(model(rows=5003).to(dtype), 5008).embedding.weight)
            assert found[0].dtype == dtype
            assert all(torch.equal(found[0], other) for other in found)
    finally:
        torch.set_num_threads(threads)


def test_the_same_size_is_the_same_model_and_a_smaller_one_is_refused() -> None:
    decoder = model()
    assert resized(decoder, 29) is decoder
    with pytest.raises(AccordError, match="29 rows; cutting it to 24 would lose tokens") as caught:
        resized(decoder, 24)
    assert caught.value.fix
