"""What all architectures share: the encoder of a backbone and a head, MLPs, fixed priors, distributions of pictures."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, Uniform

from frame.architectures.heads import CategoricalHead, DeltaHead, DiagonalNormalHead
from frame.architectures.layers import mlp, start
from frame.common.errors import UserError, at_least, choices
from frame.common.sizes import n_values
from frame.models.base import ConditionalDistribution, headless, n_features
from frame.probability.distributions import (
    CategoricalLevels,
    Delta,
    DiscretisedLogistic,
    FlatBernoulli,
    bernoulli,
    independent,
    normal,
    standard_normal,
)

TOKENS = ("mean", "first")


class DiagonalNormal(ConditionalDistribution):
    """The prior p(z) = N(0, I), without parameters. Its batch_shape () broadcasts with any q(z|x).

    Raises:
        UserError: z_dim < 1.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.register_buffer("loc", torch.zeros(z_dim))
        self.register_buffer("scale", torch.ones(z_dim))

    def forward(self, y: Tensor | None = None, *, encoder: Callable[..., Distribution] | None = None) -> Independent:
        return standard_normal(self.loc, self.scale)


class UniformCube(ConditionalDistribution):
    """The prior p(z) = U[-1, 1]^z_dim, called like `DiagonalNormal`.

    Raises:
        UserError: z_dim < 1.
    """

    high: Tensor

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.register_buffer("high", torch.ones(z_dim))

    def forward(self, y: Tensor | None = None, *, encoder: Callable[..., Distribution] | None = None) -> Independent:
        return Independent(Uniform(-self.high, self.high, validate_args=False), 1, validate_args=False)


class Encoder(ConditionalDistribution):
    """q(z|x): a backbone finds features of x, and a head turns them into a distribution of batch_shape (B,).

    The backbone is any module that returns a tensor: features [B, D], a map [B, D, H, W] or tokens [B, T, D]. Pooled,
    a map to its mean over H and W, they are `features(x)`, which the head reads and evaluations measure.

    Args:
        backbone: x [B, *shape] -> that tensor, or an object of which it is a named field, such as a dict or a
            ModelOutput of transformers.
        head: features [B, D] -> a distribution; see `frame.architectures.heads`. A head with `_partial_: true` is
            made here, with the backbone's `n_out` as its n_in, so that the config need not repeat the number.
        field: the tensor's name in the backbone's output; None if the output is the tensor.
        tokens: how tokens are pooled: their 'mean', or the 'first', which is the class token of a ViT.

    Raises:
        UserError: the backbone or the head is no module, `tokens` is unknown, or the head is partial and the backbone
            has no n_out; when called, the backbone returns something else, or the head does not take as many features
            as the backbone has.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module | partial[Any],
        field: str | None = None,
        tokens: str = "mean",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head: nn.Module = _made(head, backbone) if isinstance(head, partial) else head
        for name, part in (("backbone", backbone), ("head", self.head)):
            if not isinstance(part, nn.Module):
                raise UserError(f"{name} must be a torch.nn.Module, and is {part!r:.60}: give it a _target_")
        if tokens not in TOKENS:
            raise UserError(choices(str(tokens), TOKENS, kind="tokens"))
        self.field, self.tokens = field, tokens
        if hasattr(self.head, "z_dim"):  # models compare it between their networks
            self.z_dim = self.head.z_dim

    def forward(self, x: Tensor, *conditions: Tensor) -> Distribution:
        head = self.head
        output = self.output(x, *conditions)
        features = self.pooled(output) if getattr(head, "pooled", True) else output
        size, n_in = features.shape[1 if features.dim() == 4 else -1], getattr(head, "n_in", None)
        if n_in is not None and n_in != size:
            raise UserError(
                f"{type(head).__name__} has n_in={n_in}, but {type(self.backbone).__name__} returns {size} "
                f"features: set the head's n_in to {size}"
            )
        found = head(features)
        if not isinstance(found, Distribution):
            raise UserError(
                f"the head {type(head).__name__} returns {_named(found)} instead of a distribution: take one of "
                "frame.architectures.heads, such as DeltaHead"
            )
        return found

    def features(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """The backbone's output, pooled: [B, D]."""
        return self.pooled(self.output(x, *conditions))

    def output(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """The backbone's output: [B, D], [B, D, H, W] or [B, T, D]."""
        backbone = self.backbone
        found = tensor_of(backbone(x, *conditions), self.field, type(backbone).__name__)
        if found.dim() not in (2, 3, 4) or found.shape[0] != x.shape[0]:
            raise UserError(
                f"{type(backbone).__name__} returns a tensor {list(found.shape)} for {x.shape[0]} rows of x: it must "
                "return features [B, D], a map [B, D, H, W] or tokens [B, T, D]"
            )
        return found

    def pooled(self, output: Tensor) -> Tensor:
        """The mean over H and W of a map, and over T of tokens unless the first is taken; features stay: [B, D]."""
        if self.tokens == "first" and output.dim() != 3:
            raise UserError(
                f"tokens=first: {type(self.backbone).__name__} returns {list(output.shape)} and no tokens [B, T, D]: "
                "leave it out"
            )
        if output.dim() == 4:
            return output.mean(dim=(2, 3))
        if output.dim() == 3:
            return output[:, 0] if self.tokens == "first" else output.mean(dim=1)
        return output


class Headless(ConditionalDistribution):
    """All mass at the features of another encoder, whose head is removed: batch_shape (B,), event_shape (n_features,).

    Args:
        encoder: an encoder with features(x).

    Raises:
        UserError: it has none.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = headless(encoder)
        if (size := n_features(encoder)) is not None:  # models compare it between their networks
            self.z_dim = size

    def forward(self, x: Tensor, *conditions: Tensor) -> Delta:
        return Delta(self.features(x, *conditions).float())

    def features(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """The other encoder's features, [B, D]."""
        found: Tensor = self.encoder.features(x, *conditions)
        return found


def _made(head: partial[Any], backbone: nn.Module) -> nn.Module:
    """The head for the backbone's number of features."""
    if not hasattr(backbone, "n_out"):
        raise UserError(
            f"{type(backbone).__name__} has no n_out, the number of its features: give it one, or the head an n_in"
        )
    made: nn.Module = head(n_in=backbone.n_out)
    return made


def tensor_of(output: Any, field: str | None, backbone: str) -> Tensor:
    """The tensor in what a backbone returns.

    Raises:
        UserError: the output is no tensor and no field is named, there is no such field, or it is no tensor.
    """
    if isinstance(output, Tensor):
        if field is not None:
            raise UserError(f"field={field}: {backbone} returns a tensor, which has no fields: leave it out")
        return output
    parts = _fields(output)
    if not parts:
        raise UserError(
            f"{backbone} returns {_named(output)}, whose parts have no names: wrap it in a module that returns one "
            "tensor"
        )
    tensors = [name for name, part in parts.items() if isinstance(part, Tensor)]
    if field is None:
        raise UserError(
            f"{backbone} returns {_named(output)} instead of a tensor: name the field to take, "
            f"field={' or '.join(tensors) or '...'}"
        )
    if field not in parts:
        raise UserError(f"{backbone}: {choices(field, tensors, kind=f'field in its {type(output).__name__}')}")
    found = parts[field]
    if not isinstance(found, Tensor):
        raise UserError(
            f"{backbone}: field={field} is {_named(found)} instead of a tensor; tensors: {', '.join(tensors)}"
        )
    return found


def _fields(output: Any) -> Mapping[str, Any]:
    """The named parts of a mapping, a named tuple, a dataclass or any other object; none of a list or a tuple."""
    if isinstance(output, Mapping):
        return {str(name): part for name, part in output.items()}
    if hasattr(output, "_asdict"):
        return dict(output._asdict())
    if dataclasses.is_dataclass(output):
        return {entry.name: getattr(output, entry.name) for entry in dataclasses.fields(output)}
    return getattr(output, "__dict__", {})


def _named(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"


class MLPBackbone(nn.Module):
    """x [B, *shape] in [0, 1] -> the last hidden layer, [B, n_out]; x itself, flat, if there are no layers.

    Args:
        shape: of one row of x.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        centred: x enters as 2x - 1.
        init: first weights of the hidden layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: a width is not positive, or an unknown `init`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        layers: Sequence[int],
        activation: nn.Module | None = None,
        centred: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        n_in = math.prod(shape)
        self.centred = centred
        self.hidden = mlp(n_in, layers, activation)
        start(self.hidden, init)
        self.n_out = [n_in, *layers][-1]

    def forward(self, x: Tensor) -> Tensor:
        if self.centred:
            x = 2 * x - 1
        return self.hidden(x.flatten(start_dim=1))


class PictureDistribution(nn.Module):
    """The last layer of a decoder: numbers [B, n_parameters, *shape] -> p(x|z) of event_shape `shape`, x in [0, 1]."""

    n_parameters: int = 1

    def values(self, numbers: Tensor) -> Distribution:
        """The distribution of each single value, batch_shape (B, *shape)."""
        raise NotImplementedError

    def forward(self, numbers: Tensor) -> Distribution:
        return independent(self.values(numbers.float()), numbers.dim() - 2)

    def of_flat(self, numbers: Tensor, shape: torch.Size) -> Distribution:
        """The same from flat numbers [..., n_parameters * D], for rows of a shape with D values."""
        found: Distribution = self(numbers.view(*numbers.shape[:-1], self.n_parameters, *shape))
        return found


class BernoulliPicture(PictureDistribution):
    """Values 0 or 1. For grey values the log-probability is a cross-entropy and no likelihood: binarize the data."""

    def values(self, numbers: Tensor) -> Bernoulli:
        return bernoulli(numbers.squeeze(1))

    def of_flat(self, numbers: Tensor, shape: torch.Size) -> Distribution:
        if type(self) is not BernoulliPicture:  # a subclass may define the values otherwise
            return super().of_flat(numbers, shape)
        return FlatBernoulli(numbers.float(), shape)


class NormalPicture(PictureDistribution):
    """Values around a mean, with one fixed scale: a density, so its likelihoods do not compare with discrete ones.

    Args:
        scale: the standard deviation.
        loc_shift: added to the network's output; 0.5 starts at mid-grey.

    Raises:
        UserError: scale is not positive.
    """

    def __init__(self, scale: float = 1.0, loc_shift: float = 0.0) -> None:
        super().__init__()
        if not scale > 0:
            raise UserError(f"scale={scale}: it must be positive")
        self.scale = scale
        self.loc_shift = loc_shift

    def values(self, numbers: Tensor) -> Normal:
        loc = numbers.squeeze(1) + self.loc_shift
        return normal(loc, torch.full_like(loc, self.scale))


class NormalPerValue(PictureDistribution):
    """Each value is a Normal variable with a mean and a scale of its own: a density, for tables and series.

    Args:
        smallest: of the scales; without a bound, the density of a value that can be told exactly would be infinite.

    Raises:
        UserError: smallest is not positive.
    """

    n_parameters = 2

    def __init__(self, smallest: float = 0.05) -> None:
        super().__init__()
        if not smallest > 0:
            raise UserError(f"smallest={smallest}: it must be positive")
        self.smallest = smallest

    def values(self, numbers: Tensor) -> Normal:
        return normal(numbers[:, 0], F.softplus(numbers[:, 1]) + self.smallest)


class CategoricalPicture(PictureDistribution):
    """Each value is one of `levels`; each level has a free probability.

    Raises:
        UserError: fewer than 2 levels.
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        at_least(2, levels=levels)
        self.n_parameters = levels

    def values(self, numbers: Tensor) -> CategoricalLevels:
        return CategoricalLevels(numbers.movedim(1, -1))


class DiscretisedLogisticPicture(PictureDistribution):
    """Each value is a logistic variable, with its own location and scale, rounded to one of `levels`.

    Raises:
        UserError: fewer than 2 levels.
    """

    n_parameters = 2

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        at_least(2, levels=levels)
        self.levels = levels

    def values(self, numbers: Tensor) -> DiscretisedLogistic:
        # starts at mid-grey with a scale of about 0.1; the smallest scale is a tenth of a level
        scale = F.softplus(numbers[:, 1] - 2.25) + 0.1 / (self.levels - 1)
        return DiscretisedLogistic(numbers[:, 0] + 0.5, scale, self.levels)


class PictureOfLevels(PictureDistribution):
    """The likelihood that suits the data: `levels` says how many values each number of x can have (`${sizes.levels}`).

    2 levels: `BernoulliPicture`; more: `DiscretisedLogisticPicture`, a likelihood too; None, if the values are
    continuous: `NormalPicture` with a fixed scale, a density.

    Args:
        levels: of each value, or None.
        scale: of the Normal; 0.1 suits values in [0, 1] and standardised ones. It has no effect if there are levels.

    Raises:
        UserError: fewer than 2 levels, or scale is not positive.
    """

    def __init__(self, levels: int | None, scale: float = 0.1) -> None:
        super().__init__()
        normal = NormalPicture(scale)  # also checks the scale
        self.of_data = (
            normal if levels is None else BernoulliPicture() if levels == 2 else DiscretisedLogisticPicture(levels)
        )
        self.n_parameters = self.of_data.n_parameters

    def values(self, numbers: Tensor) -> Distribution:
        return self.of_data.values(numbers)

    def of_flat(self, numbers: Tensor, shape: torch.Size) -> Distribution:
        return self.of_data.of_flat(numbers, shape)


class MLPEncoder(Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): x [B, *shape] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from x to z.
        activation: after each hidden layer, ReLU by default.
        scale_shift: sigma = softplus(rho + scale_shift).
        centred: x enters as 2x - 1.
        deterministic: the head is a `DeltaHead`, with all mass at mu(x).
        init: first weights of the hidden layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: z_dim or a width is not positive, or an unknown `init`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        scale_shift: float = 0.0,
        centred: bool = False,
        deterministic: bool = False,
        init: str = "torch",
    ) -> None:
        backbone = MLPBackbone(shape, layers, activation, centred, init)
        n = backbone.n_out
        super().__init__(backbone, DeltaHead(n, z_dim) if deterministic else DiagonalNormalHead(n, z_dim, scale_shift))


class MLPDecoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape `shape`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        activation: after each hidden layer, ReLU by default.
        distribution: of the values, Bernoulli by default.
        init: first weights of the hidden layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: z_dim or a width is not positive, or an unknown `init`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: PictureDistribution | None = None,
        init: str = "torch",
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.shape = torch.Size(shape)
        self.distribution = distribution or BernoulliPicture()
        self.hidden = mlp(z_dim, layers, activation, read_by_linear=True)
        start(self.hidden, init)
        self.linear = nn.Linear([z_dim, *layers][-1], self.distribution.n_parameters * math.prod(shape))

    def forward(self, z: Tensor) -> Distribution:
        return self.distribution.of_flat(self.linear(self.hidden(z)), self.shape)


class Predictor(ConditionalDistribution):
    """p(y|z): z [..., z_dim] -> Categorical over `n_classes`, batch_shape (...); linear unless `layers` are given.

    Args:
        z_dim: length of z.
        n_classes: K.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        reference: whether the first class has the logit 0: two classes then have one logit.
        init: first weights of all layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: z_dim or a width is not positive, fewer than 2 classes, or an unknown `init`.
    """

    def __init__(
        self,
        z_dim: int,
        n_classes: int = 10,
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
        reference: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.hidden = mlp(z_dim, layers, activation)
        self.head = CategoricalHead([z_dim, *layers][-1], n_classes, reference)
        start(self, init)

    def forward(self, z: Tensor) -> Categorical:
        return self.head(self.hidden(z))


class NumberPredictor(ConditionalDistribution):
    """p(y|z) for numbers y: z [..., z_dim] -> N(mu(z), scale^2), batch_shape (...); linear unless `layers` are given.

    Args:
        z_dim: length of z.
        shape: of a row's y: [] for one number, [K] for several, which are then one event.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        scale: the standard deviation; with sqrt(1/2), -log p(y|z) is the squared error and a constant.

    Raises:
        UserError: z_dim, a side of the shape, a width or the scale is not positive.
    """

    def __init__(
        self,
        z_dim: int,
        shape: Sequence[int] | None = (),
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
        scale: float = 0.5**0.5,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        if not scale > 0:
            raise UserError(f"scale={scale}: it must be positive")
        self.z_dim, self.scale, self.shape = z_dim, scale, tuple(shape or ())
        self.hidden = mlp(z_dim, layers, activation)
        self.linear = nn.Linear([z_dim, *layers][-1], n_values(shape=self.shape))

    def forward(self, z: Tensor) -> Distribution:
        loc = self.linear(self.hidden(z)).float()
        loc = loc.view(*loc.shape[:-1], *self.shape)
        each = normal(loc, torch.full_like(loc, self.scale))
        return independent(each, len(self.shape)) if self.shape else each


class LabelPredictor(ConditionalDistribution):
    """p(y|z) for several labels a row: z [..., z_dim] -> a Bernoulli variable for each of K labels, batch_shape (...).

    Args:
        z_dim: length of z.
        shape: of a row's y, [K].
        layers: widths of the hidden layers; none: linear.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: z_dim or a width is not positive, or the shape is not that of labels.
    """

    def __init__(
        self,
        z_dim: int,
        shape: Sequence[int] | None,
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        if shape is None or len(shape) != 1:
            raise UserError(
                "LabelPredictor is for several labels a row, 'y' [N, K]: 'y' of the data has one value a row"
            )
        self.z_dim, self.hidden = z_dim, mlp(z_dim, layers, activation)
        self.linear = nn.Linear([z_dim, *layers][-1], n_values(shape=shape))

    def forward(self, z: Tensor) -> Distribution:
        return independent(bernoulli(self.linear(self.hidden(z)).float()), 1)
