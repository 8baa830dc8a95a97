"""A network with weights from a file, which is measured beside a model and never trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from frame.architectures.base import Encoder
from frame.common.errors import UserError
from frame.common.weights import load_weights, read_weights
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import Delta


class Frozen(ConditionalDistribution):
    """All mass at the features of a network whose weights came from elsewhere, as a floor of an evaluation.

    Args:
        network: takes x [B, *shape] as the data give it; its features are features(x) if it has this method, else its
            output, pooled as `Encoder` does.
        file: the weights, see `frame.common.weights.read_weights`, also for at, prefix and names.
        name: of the floor, 'floor/<name>'.
        allow: names that need not fit, see `frame.common.weights.load_weights`.
        field, tokens: see `frame.architectures.base.Encoder`.

    Raises:
        UserError: there are no such weights, or they do not fit; or the name has characters other than letters, digits,
            '_', '-' and '.'.
    """

    def __init__(
        self,
        network: nn.Module,
        file: str,
        name: str = "frozen",
        at: str | None = None,
        prefix: str = "",
        names: Mapping[str, str] | None = None,
        allow: Sequence[str] = (),
        field: str | None = None,
        tokens: str = "mean",
    ) -> None:
        super().__init__()
        if not all(part.isalnum() for part in name.replace(".", "_").replace("-", "_").split("_")):
            raise UserError(f"name={name}: a floor's name has letters, digits, '_', '-' and '.'")
        self.name = name
        load_weights(network, read_weights(file, at, prefix, names), allow)
        self.network: Any = network if hasattr(network, "features") else Encoder(network, nn.Identity(), field, tokens)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Delta:
        return Delta(self.network.features(x).flatten(1).float())

    def encode(self, x: Tensor) -> Delta:
        """All mass at the network's features, [B, D]."""
        return self(x)
