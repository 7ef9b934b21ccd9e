"""The decoder's forward pass without gradients: the same numbers from fewer, larger operations.

In decoding a step costs mostly what starting its operations costs. So weights are laid out anew: a
block's projections side by side and transposed, the norms' weights folded into the products that
follow them, the pairs that rotation turns made neighbours, so that it is one complex product.

torch.compile was measured on these steps (CPU, 1.5 M model): with static shapes they are as fast as
without, with dynamic ones 0.75 to 0.95 times as fast, and compiling takes 45 to 60 seconds. So
nothing is compiled.

Axes: N tokens, D width, E columns of the stream, M margin, J heads of queries, keys and values
together, d head width, P positions, I inputs and O outputs of a product, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig
from accord.model.attention import Attend, Attention
from accord.model.decoder import Block, Decoder
from accord.model.layers import MLP, GatedMLP, RMSNorm, activate
from accord.model.rotary import rotary
from accord.rollout.sampling import BLOCK

_MARGIN = 16
"""Columns of the stream beside the width; the first holds what RMS norm adds to the squares."""
_PARTS = (Decoder, Block, Attention, MLP, GatedMLP, RMSNorm)
_LEAVES = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.ModuleList)

Forward = Callable[[Tensor, Tensor, Attend, Tensor | None], Tensor]
"""(ids_N, position_N, attend, wanted) to hidden states, of the tokens `wanted` alone if given."""


def plain(model: Decoder) -> Forward:
    """The model itself as a forward pass of the engine: the slow twin of `Fused`."""

    def forward(
        ids_N: Tensor, position_N: Tensor, attend: Attend, wanted: Tensor | None = None
    ) -> Tensor:
        hidden_ND = model(ids_N, position_N, attend)
        return hidden_ND if wanted is None else hidden_ND[wanted]

    return forward


def expresses(model: nn.Module) -> bool:
    """Whether `Fused` knows every part that the model is made of."""
    return all(type(part) in _PARTS + _LEAVES for part in model.modules())


def head_for(weight_VD: Tensor, tokens: int, slots: int) -> Tensor:
    """The head as `slots` rows are multiplied by, [D, V], V the next multiple of `BLOCK`.

    Columns past `tokens` hold anything.
    """
    columns = -(-tokens // BLOCK) * BLOCK
    weight_VD = weight_VD[:columns]
    if len(weight_VD) < columns:
        weight_VD = F.pad(weight_VD, (0, 0, 0, columns - len(weight_VD)))
    # worth its transposition after a dozen steps (measured on a CPU)
    few = slots < 4 and weight_VD.is_cpu and weight_VD.dtype == torch.float32
    return weight_VD.t().contiguous() if few else weight_VD.t()


class Fused:
    """A decoder's forward pass, from copies of its weights that `refresh` makes.

    Args:
        model: A decoder that `expresses` accepts.
    """

    def __init__(self, model: Decoder) -> None:
        self.model, config = model, model.config
        self.layers = [_Layer(config, i, block) for i, block in enumerate(model.layers)]
        self.rms = isinstance(model.norm, RMSNorm)
        self.turn_P1c: Tensor | None = None
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the model's weights as they are now."""
        model, config = self.model, self.model.config
        self.dtype, device = model.head_weight_VD.dtype, model.head_weight_VD.device
        self.wide = torch.promote_types(self.dtype, torch.float32)
        for layer in self.layers:
            layer.refresh()
        self.scale_D = _scale(model.norm, self.wide).to(self.dtype)
        self.shift_D = None if self.rms else model.norm.get_parameter("bias")
        if self.rms:
            self.margin_1M = torch.zeros(1, _MARGIN, dtype=self.wide, device=device)
            self.margin_1M[0, 0] = (config.norm_eps * config.hidden_size) ** 0.5
        if model.position_embedding is None and not self._can_turn(device):
            position_P = torch.arange(config.max_position_embeddings, device=device)
            self.turn_P1c = torch.complex(*rotary(position_P, config, self.wide))

    def _can_turn(self, device: torch.device) -> bool:
        turn_P1c = self.turn_P1c
        return turn_P1c is not None and (turn_P1c.device, turn_P1c.real.dtype) == (
            device,
            self.wide,
        )

    def __call__(
        self, ids_N: Tensor, position_N: Tensor, attend: Attend, wanted: Tensor | None = None
    ) -> Tensor:
        """Hidden states after the last norm, [N, D], or [len(wanted), D].

        Args:
            ids_N: Token ids.
            position_N: Their positions.
            attend: A `KVCache`'s prefill or step; the cache is only read by this class.
            wanted: The tokens whose states are asked for; none: all.
        """
        stream_NE = self._embedded(ids_N, position_N)
        turn_N1c = None if self.turn_P1c is None else self.turn_P1c.index_select(0, position_N)
        for layer in self.layers:
            mixed_NI = layer.mixed(self._normed(stream_NE), turn_N1c, attend)
            if wanted is not None and layer is self.layers[-1]:
                mixed_NI, stream_NE = mixed_NI[wanted], stream_NE[wanted]
            layer.out.add_to(stream_NE, mixed_NI)
            layer.down.add_to(stream_NE, layer.inner(self._normed(stream_NE)))
        hidden_ND = self._normed(stream_NE) * self.scale_D
        return hidden_ND if self.shift_D is None else hidden_ND + self.shift_D

    def _embedded(self, ids_N: Tensor, position_N: Tensor) -> Tensor:
        stream_ND = self.model.embedding.weight.index_select(0, ids_N)
        if self.model.position_embedding is not None:
            stream_ND = stream_ND + self.model.position_embedding.weight.index_select(0, position_N)
        if not self.rms:
            return stream_ND.to(self.wide)
        return torch.cat((stream_ND, self.margin_1M.expand(len(ids_N), -1)), 1)

    def _normed(self, stream_NE: Tensor) -> Tensor:
        """The stream as the next product reads it, without the norm's weights."""
        config = self.model.config
        if not self.rms:
            normed_ND = F.layer_norm(stream_NE, (config.hidden_size,), eps=config.norm_eps)
        else:
            # the margin's square is the width times epsilon: one norm, no term to add
            length_N1 = torch.linalg.vector_norm(stream_NE, 2, -1, True)
            normed_ND = stream_NE[:, : config.hidden_size] / length_N1
        return normed_ND.to(self.dtype)


class _Layer:
    """The four products of a block."""

    def __init__(self, config: ModelConfig, number: int, block: nn.Module) -> None:
        assert isinstance(block, Block)
        self.block, self.config, self.number = block, config, number
        self.window = config.window(number)
        self.heads, self.out, self.up, self.down = (_Product() for _ in range(4))
        self.turned = config.num_attention_heads + config.kv_heads
        self.gated = isinstance(block.mlp, GatedMLP)
        self.scale_Jd: Tensor | None = None

    def refresh(self) -> None:
        attention, mlp = self.block.attention, self.block.mlp
        assert isinstance(mlp, MLP | GatedMLP)
        projections = [attention.query, attention.key, attention.value]
        order_O = None
        if self.config.position == "rope":
            order_O = _neighbours(self.turned, self.config).to(attention.query.weight.device)
        if attention.query_norm is not None and attention.key_norm is not None:
            heads = (self.config.num_attention_heads, self.config.kv_heads)
            norms = (attention.query_norm, attention.key_norm)
            scales = [n.weight.expand(many, -1) for n, many in zip(norms, heads, strict=True)]
            scale_I = torch.cat(scales).flatten()
            if order_O is not None:
                scale_I = scale_I[order_O[: len(scale_I)]]
            self.scale_Jd = scale_I.view(self.turned, -1)
        self.heads.fill(projections, self.block.attention_norm, order_O)
        self.out.fill([attention.out])
        widened = [mlp.gate, mlp.up] if isinstance(mlp, GatedMLP) else [mlp.up]
        self.up.fill(widened, self.block.mlp_norm)
        self.down.fill([mlp.down])

    def mixed(self, x_ND: Tensor, turn_Nc: Tensor | None, attend: Attend) -> Tensor:
        """What attention mixes, [N, H d]."""
        size, queries = self.config.head_size, self.config.num_attention_heads
        heads_NJd = self.heads(x_ND).view(len(x_ND), -1, size)
        if self.scale_Jd is not None:
            turned_NJd = heads_NJd[:, : self.turned]
            normed_NJd = F.rms_norm(turned_NJd, (size,), eps=self.config.norm_eps)
            turned_NJd.copy_(normed_NJd.mul_(self.scale_Jd))
        if turn_Nc is not None:
            _turn_(heads_NJd, self.turned, turn_Nc)
        q_NHd, k_NKd = heads_NJd[:, :queries], heads_NJd[:, queries : self.turned]
        v_NKd = heads_NJd[:, self.turned :]
        return attend(self.number, q_NHd, k_NKd, v_NKd, self.window).flatten(1)

    def inner(self, x_ND: Tensor) -> Tensor:
        """What the feed-forward's last product reads."""
        inner_NI = self.up(x_ND)
        if not self.gated:
            return activate(inner_NI, self.config.activation)
        width = self.config.intermediate_size
        return activate(inner_NI[:, :width], self.config.activation).mul_(inner_NI[:, width:])


class _Product:
    """x W + b, with W [I, O] contiguous: what few rows are multiplied by fastest."""

    def __init__(self) -> None:
        self.weight_IO = torch.empty(0)
        self.bias_O: Tensor | None = None

    def fill(
        self,
        layers: Sequence[nn.Linear],
        before: nn.Module | None = None,
        order_O: Tensor | None = None,
    ) -> None:
        """Take over linear layers side by side.

        Args:
            layers: Layers of one input.
            before: The norm before them, whose weight and bias their input lacks.
            order_O: The order that their outputs shall have.
        """
        dtype = layers[0].weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        weight_OI = torch.cat([layer.weight for layer in layers]).to(wide)
        bias_O = None
        if layers[0].bias is not None:
            bias_O = torch.cat([layer.bias for layer in layers]).to(wide)
        if isinstance(before, nn.LayerNorm):
            shift_O = weight_OI @ before.bias.to(wide)
            bias_O = shift_O if bias_O is None else bias_O + shift_O
        if before is not None:
            weight_OI = weight_OI * _scale(before, wide)
        if order_O is not None:
            weight_OI = weight_OI[order_O]
            bias_O = None if bias_O is None else bias_O[order_O]
        self.weight_IO = _filled(self.weight_IO, weight_OI.t(), dtype)
        if bias_O is not None:
            self.bias_O = _filled(self.bias_O, bias_O, dtype)

    def __call__(self, x_NI: Tensor) -> Tensor:
        if self.bias_O is None:
            return torch.mm(x_NI, self.weight_IO)
        return torch.addmm(self.bias_O, x_NI, self.weight_IO)

    def add_to(self, stream_NE: Tensor, x_NI: Tensor) -> None:
        """Add the product to the stream in place."""
        stream_NO = stream_NE[:, : self.weight_IO.shape[1]]
        if stream_NO.dtype != x_NI.dtype:
            stream_NO.add_(self(x_NI))
            return
        stream_NO.addmm_(x_NI, self.weight_IO)
        if self.bias_O is not None:
            stream_NO.add_(self.bias_O)


def _scale(norm: nn.Module, wide: torch.dtype) -> Tensor:
    """What a norm's output is multiplied by, relative to `_normed`."""
    weight_D = norm.get_parameter("weight").to(wide)
    return weight_D * len(weight_D) ** 0.5 if isinstance(norm, RMSNorm) else weight_D


def _filled(buffer: Tensor | None, values: Tensor, dtype: torch.dtype) -> Tensor:
    """`values` contiguous in `dtype`, in the memory of `buffer` where it can be."""
    like = (values.shape, dtype, values.device)
    if buffer is None or (buffer.shape, buffer.dtype, buffer.device) != like:
        buffer = torch.empty(values.shape, dtype=dtype, device=values.device)
    return buffer.copy_(values)


def _neighbours(turned: int, config: ModelConfig) -> Tensor:
    """The order of outputs that puts the pairs (i, i + d/2) of the first `turned` heads together.

    Queries and keys change order alike, so that their products stay the same.
    """
    size, heads = config.head_size, config.num_attention_heads + 2 * config.kv_heads
    paired_d = torch.arange(size).view(2, -1).t().flatten()
    order_Jd = torch.arange(heads * size).view(heads, size)
    order_Jd[:turned] = order_Jd[:turned, paired_d]
    return order_Jd.flatten()


def _turn_(heads_NJd: Tensor, turned: int, turn_N1c: Tensor) -> None:
    """Rotate the first `turned` heads in place (arXiv 2104.09864, eq. 34, as complex numbers)."""
    pairs_NJc2 = heads_NJd.view(*heads_NJd.shape[:2], -1, 2)
    if pairs_NJc2.dtype in (torch.float32, torch.float64):
        torch.view_as_complex(pairs_NJc2)[:, :turned].mul_(turn_N1c)
        return
    wide_NJc = torch.view_as_complex(pairs_NJc2[:, :turned].to(turn_N1c.real.dtype))
    pairs_NJc2[:, :turned] = torch.view_as_real(wide_NJc * turn_N1c)
