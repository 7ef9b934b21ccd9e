"""More rows of the vocabulary for a model that exists.

Axes: V rows of the vocabulary, D width.
"""

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.model.decoder import Decoder

_ROWS = ("embedding.weight", "head.weight")


@torch.no_grad()
def resized(decoder: Decoder, vocab_size: int) -> Decoder:
    """The decoder with `vocab_size` rows in its embedding and, where it has one, its head.

    Each new row is the mean of the old ones: its logit is then the mean of the old logits, so that
    no new token is likelier than the old ones are on average. Old rows keep every bit. The weights
    that do not grow are the given decoder's own, not copies; the same size gives it back as it is.

    Args:
        decoder: The model; not to be used any more.
        vocab_size: Rows of the new one.

    Raises:
        AccordError: The embedding has more rows already.
    """
    old = decoder.config.vocab_size
    if vocab_size == old:
        return decoder
    if vocab_size < old:
        raise AccordError(
            f"The embedding has {old} rows; cutting it to {vocab_size} would lose tokens.",
            "vocab_size",
            "keep the spare rows: ids past the tokenizer are never drawn",
        )
    weights = decoder.state_dict()
    for name in _ROWS:
        if name in weights:
            weights[name] = _grown(weights[name], vocab_size)
    with torch.device("meta"):
        grown = Decoder(decoder.config.model_copy(update={"vocab_size": vocab_size}))
    grown.load_state_dict(weights, assign=True)
    return grown.train(decoder.training)


def _grown(rows_VD: Tensor, vocab_size: int) -> Tensor:
    # in float64, so that the order in which threads add is rounded away
    mean_D = rows_VD.mean(0, dtype=torch.float64).to(rows_VD.dtype)
    return torch.cat((rows_VD, mean_D.expand(vocab_size - len(rows_VD), -1)))
