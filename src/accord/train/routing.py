"""Auxiliary losses of mixtures of experts, added to whatever objective a run has.

They are taken here, where every kind of training passes, so that none can drop them; a reference,
a roll-out or an evaluation never meets them. The load-balancing loss is no sum over tokens: it is
made of the batch's shares f of each expert. So f, like the weight by which the loop divides, is of
all micro-batches and ranks: with one micro-batch a rank it is summed after the forward pass; with
more, a pass without gradient over the step's rows counts it beforehand. Accumulation and ranks then
change nothing here either.

Axes: L layers, N tokens of the stream, E experts.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from accord.config.train import TrainConfig
from accord.model.decoder import Decoder
from accord.model.moe import MixtureOfExperts, Routed, moe_layers, recorded
from accord.objectives.routing import router_terms
from accord.train.parallel import Ranks

Metrics = dict[str, tuple[Tensor, Tensor]]
Seen = list[list[list[Routed]]]
"""For each trunk, for each of its layers, what each forward pass did."""


@dataclass(frozen=True)
class Trunk:
    """A decoder with experts, such as a policy or its critic, and the weights of its losses."""

    layers: list[MixtureOfExperts]
    aux_coef: float
    z_coef: float

    @classmethod
    def of(cls, decoder: Decoder, config: TrainConfig) -> Self:
        """The trunk; a stage's own coefficients go before the model's."""
        shape, aux, z = decoder.config, config.router_aux_loss_coef, config.router_z_loss_coef
        return cls(
            moe_layers(decoder),
            shape.router_aux_loss_coef if aux is None else aux,
            shape.router_z_loss_coef if z is None else z,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and experts."""
        return len(self.layers), len(self.layers[0].router.weight)


class Tally(NamedTuple):
    """What the routers did over some rows, without gradient; tallies of parts add up.

    Args:
        counts: Of each trunk, float64 [L, E]: the assignments that each expert worked on.
        asked: Of each trunk, float64: the assignments that its tokens asked for.
        weight: Of the objective, float64.
    """

    counts: tuple[Tensor, ...]
    asked: tuple[Tensor, ...]
    weight: Tensor

    def packed(self) -> Tensor:
        """All of it as one vector, which ranks add up."""
        parts = (*self.counts, *self.asked, self.weight)
        return torch.cat([part.flatten() for part in parts])

    def unpacked(self, vector: Tensor) -> "Tally":
        """A vector of this tally's form as a tally."""
        sizes = [counts.numel() for counts in self.counts]
        *parts, rest = vector.split([*sizes, len(vector) - sum(sizes)])
        counts = [part.view(own.shape) for part, own in zip(parts, self.counts, strict=True)]
        return Tally(tuple(counts), tuple(rest[:-1]), rest[-1])


class RouterLosses:
    """The router losses of a model's trunks; one object a trainer.

    Args:
        trunks: What has experts.
        ranks: Who shares a step's rows.
    """

    def __init__(self, trunks: list[Trunk], ranks: Ranks) -> None:
        self._trunks, self._ranks = trunks, ranks
        self._whole: Tally | None = None
        self._window: Tally | None = None

    @classmethod
    def of(cls, model: nn.Module, config: TrainConfig, ranks: Ranks) -> Self | None:
        """The losses of a model; none where it has no experts."""
        decoders = [part for part in model.modules() if isinstance(part, Decoder)]
        trunks = [Trunk.of(decoder, config) for decoder in decoders if moe_layers(decoder)]
        return cls(trunks, ranks) if trunks else None

    @contextmanager
    def watched(self) -> Iterator[Seen]:
        """What the routers do in the forward passes made while it is open."""
        with ExitStack() as stack:
            yield [stack.enter_context(recorded(trunk.layers)) for trunk in self._trunks]

    def tally(self, seen: Seen, weight: Tensor) -> Tally:
        """What the routers did in a pass whose objective has this weight."""
        counts, asked = [], []
        for own, trunk in zip(seen, self._trunks, strict=True):
            given = [torch.stack([_given(routed) for routed in each]).sum(0) for each in own]
            counts.append(torch.stack(given))
            tokens = sum(len(routed.logits_NE) for each in own for routed in each)
            asked.append(counts[-1].new_tensor(float(tokens * trunk.layers[0].top_k)))
        return Tally(tuple(counts), tuple(asked), weight.detach().double())

    def summed(self, tally: Tally) -> Tally:
        """A rank's tally with those of all ranks; the step's, which is also logged."""
        whole = tally.unpacked(self._ranks.sum(tally.packed()))
        held = self._window
        vector = whole.packed() if held is None else held.packed() + whole.packed()
        self._window = whole.unpacked(vector)
        return whole

    @contextmanager
    def known(self, whole: Tally) -> Iterator[None]:
        """Take the passes made while it is open as parts of a step that did this."""
        self._whole = whole
        try:
            yield
        finally:
            self._whole = None

    def terms(self, seen: Seen, weight: Tensor, share: float) -> tuple[Tensor, Metrics]:
        """What is added to a pass's loss sum, and its metrics.

        The metrics' weights add up to 1 over the passes of a step, however many there are.

        Args:
            seen: What the routers did in the pass.
            weight: Of its objective.
            share: 1, or 0 for a rank's pass that does not count.
        """
        own = self.tally(seen, weight)
        whole = self._whole or self.summed(own.unpacked(own.packed() * share))
        extra, sums = weight.new_zeros(()), weight.new_zeros(3)
        part = weight.new_zeros(())
        for i, trunk in enumerate(self._trunks):
            logits_LNE = torch.stack([torch.cat([r.logits_NE for r in each]) for each in seen[i]])
            rows = whole.asked[i] / trunk.layers[0].top_k
            found = router_terms(logits_LNE, whole.counts[i] * len(trunk.layers) / rows)
            aux, z, entropy = (total / rows.to(total.dtype) for total in found)
            extra = extra + trunk.aux_coef * aux + trunk.z_coef * z
            sums = sums + torch.stack((aux, z, entropy)).detach()
            part = part + own.asked[i] / whole.asked[i] / len(self._trunks)
        aux, z, entropy = sums.unbind()
        # the loop divides by this weight
        return extra * whole.weight.to(extra.dtype), {
            "aux_loss": (aux, part),
            "z_loss": (z, part),
            "router/entropy": (entropy / len(self._trunks), part),
        }

    def figures(self) -> Mapping[str, float]:
        """How even the experts' shares were since the last call.

        A share is an expert's part of its layer's assignments, times the number of experts.
        """
        if self._window is None:
            return {}
        tally, self._window = self._window, None
        shares = [
            counts_LE * counts_LE.shape[1] / counts_LE.sum(1, keepdim=True)
            for counts_LE in tally.counts
        ]
        busiest = [
            counts_LE.max() * len(counts_LE) * trunk.layers[0].top_k / asked
            for counts_LE, asked, trunk in zip(tally.counts, tally.asked, self._trunks, strict=True)
        ]
        worked = sum(float(counts_LE.sum()) for counts_LE in tally.counts)
        return {
            "router/load_max": max(float(share_LE.max()) for share_LE in shares),
            "router/load_min": min(float(share_LE.min()) for share_LE in shares),
            "router/busiest": max(map(float, busiest)),
            "router/dead_experts": float(sum(int((share_LE == 0).sum()) for share_LE in shares)),
            "router/dropped": 1.0 - worked / sum(map(float, tally.asked)),
        }


def _given(routed: Routed) -> Tensor:
    """Assignments of each expert, float64 [E]."""
    return routed.ends_E.diff(prepend=routed.ends_E.new_zeros(1)).double()
