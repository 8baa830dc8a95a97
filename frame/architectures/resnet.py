"""Residual networks of any depth and width, for pictures.

He et al. 2016, "Deep residual learning for image recognition" (1512.03385), table 1, with shortcuts of option B
(section 3.3). As in most later implementations, a bottleneck has its stride in the 3 x 3 convolution, not in the first
1 x 1.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from frame.architectures.layers import BatchNorm, picture
from frame.common.errors import UserError, at_least, choices
from frame.common.ranks import several

# The blocks of the four stages
BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STEMS = ("small", "large")


def normalised(n_in: int, n_out: int, kernel_size: int, stride: int = 1, shared: bool = False) -> nn.Sequential:
    """BN(W x), where W is a convolution without bias. At stride 1 it keeps the sides."""
    convolution = nn.Conv2d(n_in, n_out, kernel_size, stride, padding=kernel_size // 2, bias=False)
    norm = BatchNorm(n_out, momentum=0.1, shared=True) if shared else nn.BatchNorm2d(n_out)
    return nn.Sequential(convolution, norm)


class Block(nn.Module):
    """ReLU(F(x) + W x), eq. 2: [B, n_in, H, W] -> [B, n_out, H / stride, W / stride]; W = I if the sizes agree, eq. 1.

    F is two 3 x 3 convolutions. With a `bottleneck` of fewer channels, it is a 1 x 1, a 3 x 3 and a 1 x 1 convolution.
    A ReLU follows each of them but the last. `shared` statistics are those of all ranks' rows.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, bottleneck: int | None = None, shared: bool = False) -> None:
        super().__init__()
        if bottleneck is None:
            sizes = [(n_in, n_out, 3, stride), (n_out, n_out, 3, 1)]
        else:
            sizes = [(n_in, bottleneck, 1, 1), (bottleneck, bottleneck, 3, stride), (bottleneck, n_out, 1, 1)]
        layers: list[nn.Module] = []
        for size in sizes:
            layers += [normalised(*size, shared), nn.ReLU()]
        self.residual = nn.Sequential(*layers[:-1])
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else normalised(n_in, n_out, 1, stride, shared)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.residual(x) + self.shortcut(x)).relu()
        return found


class ResNet(nn.Module):
    """Maps pictures x [B, C, H, W] in [0, 1] to the mean of the last map, [B, n_out], or to the map itself.

    Pictures enter as 2x - 1. Four stages follow the stem. Each but the first halves the sides, rounded up, and doubles
    the channels. Normalisation is torch's `BatchNorm2d`, which uses running statistics in evaluation. Initial weights
    are He's for the outputs of each convolution (1502.01852, eq. 14).

    Args:
        shape: shape of one picture, [C, H, W].
        depth: 18 or 34 (basic blocks); 50, 101 or 152 (bottlenecks, whose outputs have 4 times the channels).
        width: channels of the stem and of the first stage's 3 x 3 convolutions; 64 in the paper.
        stem: 'large', a 7 x 7 convolution of stride 2 and a pooling of stride 2, for pictures of about 224 pixels;
            'small', a 3 x 3 convolution, for pictures of about 32, as in Chen et al. 2020 (2002.05709), appendix B.9.
        pooled: if False, the last map is returned, [B, n_out, H', W'].
        shared_statistics: whether the statistics of a batch are those of all ranks' rows, by `layers.BatchNorm`, whose
            weights and statistics have other names; else each rank has its own.

    Raises:
        UserError: `shape` is not [C, H, W], or another argument is not one of those above. In training: a batch has one
            row and the last map one pixel, so there is nothing to normalise over.
    """

    def __init__(
        self,
        shape: Sequence[int],
        depth: int = 18,
        width: int = 64,
        stem: Literal["small", "large"] = "small",
        pooled: bool = True,
        shared_statistics: bool = False,
    ) -> None:
        super().__init__()
        n_in, height, breadth = picture(shape)
        at_least(1, width=width)
        if depth not in BASIC | BOTTLENECK:
            raise UserError(f"depth={depth}: a ResNet has {', '.join(map(str, BASIC | BOTTLENECK))} layers")
        if stem not in STEMS:
            raise UserError(choices(str(stem), STEMS, kind="stem"))
        if stem == "small":
            self.stem = nn.Sequential(normalised(n_in, width, 3, 1, shared_statistics), nn.ReLU())
        else:
            first = normalised(n_in, width, 7, 2, shared_statistics)
            self.stem = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        stages, n_in = [], width
        for i, n_blocks in enumerate((BASIC | BOTTLENECK)[depth]):
            inner = 2**i * width
            n_out, bottleneck = (inner, None) if depth in BASIC else (4 * inner, inner)
            strides = [1 if i == 0 else 2] + [1] * (n_blocks - 1)
            sizes = [n_in] + [n_out] * (n_blocks - 1)
            pairs = zip(sizes, strides, strict=True)
            stages.append(nn.Sequential(*[Block(n, n_out, s, bottleneck, shared_statistics) for n, s in pairs]))
            n_in = n_out
        self.stages = nn.Sequential(*stages)
        self.n_out, self.pooled, self.shared_statistics = n_in, pooled, shared_statistics
        self.one_pixel = max(height, breadth) <= 2 ** (3 if stem == "small" else 5)  # the last map's size
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d | BatchNorm):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.one_pixel and len(x) == 1 and not (self.shared_statistics and several()):
            raise UserError("batch normalisation needs two rows, and a batch has one: change params.batch_size")
        features: Tensor = self.stages(self.stem(2 * x - 1))
        return features.mean(dim=(2, 3)) if self.pooled else features
