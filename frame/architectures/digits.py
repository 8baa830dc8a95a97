"""Networks for scikit-learn's digits: pictures 1 x 8 x 8 with 17 levels."""

from collections.abc import Sequence

from torch import nn

from frame.architectures import base, generators


class Encoder(base.MLPEncoder):
    """q(z|x) with hidden layers `layers`; see `MLPEncoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        scale_shift: float = 0.0,
        centred: bool = False,
        deterministic: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__((1, 8, 8), z_dim, layers, activation, scale_shift, centred, deterministic, init)


class Decoder(base.MLPDecoder):
    """p(x|z) with hidden layers `layers`, a discretised logistic over the 17 levels by default; see `MLPDecoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: base.PictureDistribution | None = None,
        init: str = "torch",
    ) -> None:
        super().__init__(
            (1, 8, 8), z_dim, layers, activation, distribution or base.DiscretisedLogisticPicture(17), init
        )


class Generator(generators.MLPGenerator):
    """G(z) with hidden layers `layers`; see `MLPGenerator`."""

    def __init__(self, z_dim: int, layers: Sequence[int], activation: nn.Module | None = None) -> None:
        super().__init__((1, 8, 8), z_dim, layers, activation)


class Predictor(base.Predictor):
    """p(y|z) over the 10 classes; see `base.Predictor`."""

    def __init__(self, z_dim: int, layers: Sequence[int] = (), activation: nn.Module | None = None) -> None:
        super().__init__(z_dim, 10, layers, activation)
