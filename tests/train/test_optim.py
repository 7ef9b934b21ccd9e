import torch
import train_toy as toy

from accord.train.blocks import block_matrices, find_blocks
from accord.train.optim import Optimizer, decay_groups
from accord.train.parallel import Ranks
from accord.train.precision import Weights

ONE = Ranks(0, 1, torch.device("cpu"))


def built(**settings: object) -> tuple[torch.nn.Module, Weights, Optimizer]:
    model, config = toy.model(), toy.config(**settings)
    weights = Weights(model, torch.float32, ONE)
    return model, weights, Optimizer(weights, config, block_matrices(model), ONE)


def test_matrices_decay_and_vectors_do_not() -> None:
    decayed, plain = decay_groups(toy.model().named_parameters())
    assert "embedding.weight" in decayed and "layers.0.mlp.up.weight" in decayed
    assert "norm.weight" in plain and "layers.1.attention_norm.weight" in plain
    assert len(decayed) + len(plain) == len(dict(toy.model().named_parameters()))


def test_decay_alone_shrinks_matrices_only() -> None:
    for optimizer in ("adamw", "muon"):
        _, weights, optim = built(optimizer=optimizer, weight_decay=0.5, lr=0.1, muon_lr=0.1)
        before = {n: t.clone() for n, t in weights.masters.items()}
        for master in weights.masters.values():
            master.grad = torch.zeros_like(master)
        optim.step(0.5)
        for name, master in weights.masters.items():
            shrunk = 1 - 0.5 * 0.1 * 0.5 if master.dim() >= 2 else 1.0
            torch.testing.assert_close(master, before[name] * shrunk)


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest() -> None:
    model, weights, optim = built(optimizer="muon")
    for master in weights.masters.values():
        master.grad = torch.ones_like(master)
    optim.step(1.0)
    by_muon = {n.rpartition("/")[0] for n in optim.state() if n.endswith("momentum_buffer")}
    assert by_muon == {n for n, p in model.named_parameters() if "layers." in n and p.dim() == 2}
    by_adam = {n.rpartition("/")[0] for n in optim.state() if n.endswith("exp_avg")}
    assert by_adam == set(weights.masters) - by_muon
    assert "embedding.weight" in by_adam


def test_state_goes_out_and_in_to_the_bit() -> None:
    _, weights, optim = built(optimizer="muon")
    _, other_weights, other = built(optimizer="muon")
    for round_ in range(3):
        for i, master in enumerate(weights.masters.values()):
            draw = torch.Generator().manual_seed(100 * round_ + i)
            master.grad = torch.randn(master.shape, generator=draw)
        optim.step(1.0)
    other_weights.load(weights.full())
    other.load(optim.state())
    assert other.state().keys() == optim.state().keys()
    assert float(other.state()["embedding.weight/step"]) == 3.0
    for pair in ((weights, optim), (other_weights, other)):
        for master in pair[0].masters.values():
            master.grad = torch.full_like(master, 0.25)
        pair[1].step(0.7)
    for name, master in weights.masters.items():
        assert torch.equal(master, other_weights.masters[name])


def test_blocks_are_found_by_the_name_layers_wherever_the_decoder_is() -> None:
    wrapper = torch.nn.ModuleDict({"decoder": toy.model()})
    assert list(find_blocks(wrapper)) == ["decoder.layers.0", "decoder.layers.1"]
    assert find_blocks(torch.nn.Linear(2, 2)) == {}
    assert all(n.startswith("decoder.layers.") for n in block_matrices(wrapper))


def test_the_blocks_of_two_trunks_are_all_found() -> None:
    both = torch.nn.ModuleDict({"policy": toy.model(), "critic": toy.model()})
    assert len(find_blocks(both)) == 4
    assert len(block_matrices(both)) == 2 * len(block_matrices(toy.model()))
