"""Projectors and predictors of joint-embedding methods: features [B, n_in] -> embeddings [B, z_dim]."""

from collections.abc import Sequence

from torch import Tensor, nn

from frame.architectures.layers import BatchNorm, batch_normalised, mlp
from frame.common.errors import at_least


class Projector(nn.Module):
    """An MLP: a linear layer, batch normalisation and a ReLU for each hidden layer, then a linear layer.

    Statistics of the batch are those of all ranks. Chen et al. 2020, "SimCLR" (2002.05709), section 2.1, has one hidden
    layer, "SimCLR v2" (2006.10029), section 3, and most later methods normalise it.

    Args:
        n_in: features.
        z_dim: length of an embedding.
        layers: widths of the hidden layers; none: a linear map.
        batch_norm: whether hidden layers are normalised over the batch, in place of their bias.
        output_norm: whether the output is, without scale and shift, as in SimSiam (2011.10566), section 3.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(
        self,
        n_in: int,
        z_dim: int,
        layers: Sequence[int] = (),
        batch_norm: bool = True,
        output_norm: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, n_in=n_in, z_dim=z_dim)
        self.n_in, self.z_dim = n_in, z_dim
        hidden = mlp(n_in, layers)
        self.hidden = batch_normalised(hidden, momentum=0.1, shared=True) if batch_norm else hidden
        self.linear = nn.Linear([n_in, *layers][-1], z_dim, bias=not output_norm)
        self.norm = BatchNorm(z_dim, affine=False, momentum=0.1, shared=True) if output_norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.norm(self.linear(self.hidden(features)))
        return found
