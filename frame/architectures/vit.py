"""Vision transformers of any size.

Dosovitskiy et al. 2021, "An image is worth 16x16 words" (2010.11929), section 3.1, eq. 1 to 4, without dropout. The
sizes of ViT-Ti and ViT-S are those of Touvron et al. 2021, "DeiT" (2012.12877), table 1.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.architectures.layers import glorot, picture
from frame.common.errors import UserError, at_least, choices

POSITIONS = ("learned", "sincos")


class Attention(nn.Module):
    """Multi-head self-attention, [B, T, dim] -> [B, T, dim]: Vaswani et al. 2017 (1706.03762), eq. 1, section 3.2.2."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        # [B, T, 3 * dim] -> 3 x [B, n_heads, T, dim / n_heads]
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        # softmax(q k' / sqrt(dim / n_heads)) v
        found: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found


class Block(nn.Module):
    """z' = MSA(LN(z)) + z, then MLP(LN(z')) + z', eq. 2 and 3: [B, T, dim] -> [B, T, dim]."""

    def __init__(self, dim: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(dim, eps=1e-6), Attention(dim, n_heads)
        self.norm_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm_1(tokens))
        found: Tensor = tokens + self.mlp(self.norm_2(tokens))
        return found


def sincos(height: int, width: int, dim: int) -> Tensor:
    """Fixed positions on a grid, [height * width, dim]: half of the numbers encode the row, half the column.

    Each half has dim / 4 sines, then dim / 4 cosines, of position / 10000^(i / (dim / 4)): Vaswani et al. 2017, section
    3.5. The two dimensions are those of Chen et al. 2021, "MoCo v3" (2104.02057).
    """
    rates = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = (torch.outer(torch.arange(n, dtype=torch.float64), rates) for n in (height, width))  # [n, dim / 4]
    parts = [
        part.view(shape).expand(height, width, -1)
        for angles, shape in ((rows, (height, 1, -1)), (columns, (1, width, -1)))
        for part in (angles.sin(), angles.cos())
    ]
    return torch.cat(parts, dim=-1).flatten(0, 1).float()


def picture_in_patches(
    shape: Sequence[int], patch_size: int, dim: int, depth: int, n_heads: int, mlp_ratio: float, positions: str
) -> tuple[int, int, int]:
    """Channels, and the patches along height and width.

    Raises:
        UserError: `shape` is not [C, H, W], sizes do not divide each other, or a number is not positive.
    """
    channels, height, width = picture(shape)
    at_least(1, patch_size=patch_size, dim=dim, depth=depth, n_heads=n_heads, mlp_dim=int(mlp_ratio * dim))
    if height % patch_size or width % patch_size:
        common = math.gcd(height, width)
        sizes = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
        raise UserError(f"patch_size={patch_size} does not divide the {height} x {width} pixels: choose of {sizes}")
    if dim % n_heads:
        raise UserError(f"n_heads={n_heads} does not divide dim={dim}: each head has the same part of a token")
    if positions not in POSITIONS:
        raise UserError(choices(str(positions), POSITIONS, kind="positions"))
    if positions == "sincos" and dim % 4:
        raise UserError(f"dim={dim}: it must be a multiple of 4 for positions=sincos")
    return channels, height // patch_size, width // patch_size


class ViT(nn.Module):
    """Maps pictures x [B, C, H, W] in [0, 1] to tokens [B, 1 + T, dim]: the class token, then the T patches.

    Called with `kept` [B, K], the numbers of K patches of each row, it sees those alone, with their positions, and
    returns tokens [B, 1 + K, dim] in their order.

    Pictures enter as 2x - 1. A linear map turns each patch of patch_size x patch_size pixels into a token. Positions
    are added. Blocks of attention and an MLP follow, then a last normalisation. Weights of linear maps start as
    Glorot's, and biases at 0. The class token and learned positions start with a standard deviation of 0.02.

    Args:
        shape: shape of one picture, [C, H, W].
        patch_size: pixels along each side of a patch; it divides H and W.
        dim: length of a token: 192 in ViT-Ti, 384 in ViT-S, 768 in ViT-B.
        depth: number of blocks: 12 in these three.
        n_heads: heads of the attention, which divide `dim`: 3, 6 and 12 in these three.
        mlp_ratio: width of a block's hidden layer, as a multiple of `dim`.
        positions: 'learned', or 'sincos' for fixed ones, which are 0 for the class token; see `sincos`.

    Raises:
        UserError: `shape` is not [C, H, W], sizes do not divide each other, or a number is not positive.
    """

    position: Tensor  # [1 + T, dim]

    def __init__(
        self,
        shape: Sequence[int],
        patch_size: int,
        dim: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        mlp_ratio: float = 4.0,
        positions: Literal["learned", "sincos"] = "learned",
    ) -> None:
        super().__init__()
        channels, rows, columns = picture_in_patches(shape, patch_size, dim, depth, n_heads, mlp_ratio, positions)
        self.patch_size, self.n_patches = patch_size, rows * columns
        self.patches = nn.Conv2d(channels, dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.empty(dim))
        if positions == "sincos":
            self.position = nn.Buffer(F.pad(sincos(rows, columns, dim), (0, 0, 1, 0)), persistent=False)
        else:
            self.position = nn.Parameter(torch.empty(1 + rows * columns, dim))
        self.blocks = nn.Sequential(*[Block(dim, n_heads, int(mlp_ratio * dim)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.n_out = dim
        self.reset_parameters()

    def reset_parameters(self) -> None:
        glorot(self)
        nn.init.xavier_uniform_(self.patches.weight.data.flatten(1))  # a view, as the linear map that it is
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)
        nn.init.normal_(self.class_token, std=0.02)
        if isinstance(self.position, nn.Parameter):
            nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        tokens = self.patches(2 * x - 1).flatten(2).transpose(1, 2) + self.position[1:]  # [B, T, dim]
        if kept is not None:
            tokens = rows_of(tokens, kept)
        # len(x) would be the batch's size for good in an exported graph
        first = (self.class_token + self.position[0]).expand(x.shape[0], 1, -1)
        found: Tensor = self.norm(self.blocks(torch.cat([first, tokens], dim=1)))
        return found


def rows_of(tokens: Tensor, numbers: Tensor) -> Tensor:
    """The tokens of each row that have these numbers: [B, T, dim], [B, K] -> [B, K, dim]."""
    return tokens.gather(1, numbers.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class PatchDecoder(nn.Module):
    """Predicts all patches of a picture from the tokens of a few: He et al. 2021 (2111.06377), section 3.

    A linear map brings tokens [B, 1 + K, n_in] to `dim`. A learned token stands for each patch that is missing. Fixed
    positions are added, see `sincos`. Blocks, a last normalisation and a linear map to pixels follow.

    Args:
        shape: shape of one picture, [C, H, W].
        patch_size: pixels along each side of a patch, and n_in, the length of the encoder's tokens: with
            `_partial_: true` the model gives both.
        dim, depth, n_heads, mlp_ratio: as in `ViT`; 512, 8 and 16 in the paper.

    Raises:
        UserError: as `ViT`.
    """

    position: Tensor  # [1 + T, dim]

    def __init__(
        self,
        shape: Sequence[int],
        patch_size: int,
        n_in: int,
        dim: int = 512,
        depth: int = 8,
        n_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        channels, rows, columns = picture_in_patches(shape, patch_size, dim, depth, n_heads, mlp_ratio, "sincos")
        at_least(1, n_in=n_in)
        self.patch_size, self.n_patches = patch_size, rows * columns
        self.embed = nn.Linear(n_in, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.position = nn.Buffer(F.pad(sincos(rows, columns, dim), (0, 0, 1, 0)), persistent=False)
        self.blocks = nn.Sequential(*[Block(dim, n_heads, int(mlp_ratio * dim)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pixels = nn.Linear(dim, channels * patch_size**2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        glorot(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Tokens [B, 1 + K, n_in], and each patch's place among the K seen and then the missing ones, [B, T].

        Returns the predicted patches [B, T, C * patch_size^2].
        """
        first, seen = self.embed(tokens).split([1, tokens.shape[1] - 1], dim=1)
        n_missing = order.shape[1] - seen.shape[1]
        missing = self.mask_token.to(seen.dtype).expand(len(seen), n_missing, -1)
        patches = rows_of(torch.cat([seen, missing], dim=1), order)
        found = self.norm(self.blocks(torch.cat([first, patches], dim=1) + self.position))
        predicted: Tensor = self.pixels(found[:, 1:])
        return predicted
