"""Vision transformers: sizes of the papers, attention against a loop, positions, refusals."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from frame.architectures.base import Encoder
from frame.architectures.heads import CategoricalHead, DiagonalNormalHead
from frame.architectures.vit import Attention, Block, PatchDecoder, ViT, rows_of, sincos
from frame.common.errors import UserError
from frame.evaluation.floors import untrained

SMALL: dict[str, Any] = {"patch_size": 4, "dim": 8, "depth": 2, "n_heads": 2}


@pytest.mark.parametrize("dim, n_heads, published", [(192, 3, 5_717_416), (384, 6, 22_050_664), (768, 12, 86_567_656)])
def test_a_classifier_of_1000_classes_has_the_published_number_of_parameters(
    dim: int, n_heads: int, published: int
) -> None:
    """ViT-Ti/16, S/16 and B/16; by hand: patches, class token, positions, 12 blocks, the last norm, the head."""
    with torch.device("meta"):
        backbone = ViT((3, 224, 224), 16, dim, 12, n_heads)
        network = Encoder(backbone, partial(CategoricalHead, n_classes=1000), tokens="first")
    blocks = 12 * (4 * dim + 4 * (dim * dim + dim) + 8 * dim * dim + 5 * dim)
    trunk = 16 * 16 * 3 * dim + dim + dim + 197 * dim + blocks + 2 * dim
    assert sum(p.numel() for p in backbone.parameters()) == trunk
    assert sum(p.numel() for p in network.parameters()) == published == trunk + dim * 1000 + 1000


def attended(attention: Attention, tokens: Tensor) -> Tensor:
    """Eq. 1 of Vaswani et al. for each row, head and query."""
    n, size = attention.n_heads, tokens.shape[-1] // attention.n_heads
    found = torch.zeros_like(tokens)
    for b, row in enumerate(tokens):
        q, k, v = (row @ attention.qkv.weight.T + attention.qkv.bias).chunk(3, dim=-1)
        for head in range(n):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(row)):
                weights = torch.tensor([math.exp(q[t, part] @ k[s, part] / size**0.5) for s in range(len(row))])
                found[b, t, part] = sum(w * v[s, part] for s, w in enumerate(weights / weights.sum()))
    return found @ attention.out.weight.T + attention.out.bias


@torch.no_grad()
def test_attention_is_the_slow_loop() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(6, 3), torch.randn(2, 5, 6)
    torch.testing.assert_close(attention(tokens), attended(attention, tokens))


@torch.no_grad()
def test_a_block_written_out() -> None:
    torch.manual_seed(0)
    block, z = Block(6, 2, 10), torch.randn(2, 5, 6)
    for norm in (block.norm_1, block.norm_2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)

    def normed(h: Tensor, norm: nn.LayerNorm) -> Tensor:
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
        return h * norm.weight + norm.bias

    z1 = attended(block.attention, normed(z, block.norm_1)) + z
    (w1, b1), (w2, b2) = (layer.parameters() for layer in (block.mlp[0], block.mlp[2]))
    h = normed(z1, block.norm_2) @ w1.T + b1
    h = h * 0.5 * (1 + torch.erf(h / 2**0.5))
    torch.testing.assert_close(block(z), h @ w2.T + b2 + z1)


@torch.no_grad()
def test_tokens_are_patches_and_positions() -> None:
    """Without blocks: the class token first, then patches from left to right and from top to bottom."""
    torch.manual_seed(0)
    vit, x = ViT((2, 4, 6), 2, 8, 1, 2), torch.rand(3, 2, 4, 6)
    vit.blocks, vit.norm = nn.Sequential(), nn.Identity()  # type: ignore[assignment]
    tokens = vit(x)
    assert tokens.shape == (3, 7, 8)
    torch.testing.assert_close(tokens[:, 0], (vit.class_token + vit.position[0]).expand(3, 8))
    weight = vit.patches.weight.flatten(1)
    for row in range(2):
        for column in range(3):
            patch = 2 * x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1) - 1
            t = 1 + 3 * row + column
            torch.testing.assert_close(tokens[:, t], patch @ weight.T + vit.position[t])


@torch.no_grad()
def test_kept_patches_are_seen_alone_with_their_positions() -> None:
    torch.manual_seed(0)
    vit, x = ViT((2, 4, 6), 2, 8, 2, 2), torch.rand(3, 2, 4, 6)
    every = torch.stack([torch.randperm(6) for _ in range(3)])
    torch.testing.assert_close(vit(x, every)[:, 0], vit(x)[:, 0])  # attention has no order
    torch.testing.assert_close(vit(x, every)[:, 1:], rows_of(vit(x)[:, 1:], every))
    kept = torch.tensor([[4, 1], [0, 5], [2, 3]])
    tokens = vit(x, kept)
    assert tokens.shape == (3, 3, 8)
    for row, numbers in enumerate(kept):
        embedded = vit.patches(2 * x - 1).flatten(2).transpose(1, 2)[row, numbers] + vit.position[1 + numbers]
        first = vit.class_token + vit.position[0]
        torch.testing.assert_close(tokens[row], vit.norm(vit.blocks(torch.cat([first[None], embedded])[None]))[0])


@torch.no_grad()
def test_the_decoder_puts_patches_into_their_places() -> None:
    """Without blocks: a patch that was seen gives its pixels by its token, and the others are the mask token's."""
    torch.manual_seed(0)
    decoder = PatchDecoder((1, 4, 6), 2, 5, 8, 1, 2)
    decoder.blocks, decoder.norm = nn.Sequential(), nn.Identity()  # type: ignore[assignment]
    kept = torch.tensor([[4, 1], [0, 5]])
    order = torch.tensor([[2, 1, 3, 4, 0, 5], [0, 2, 3, 4, 5, 1]])
    tokens = torch.randn(2, 3, 5)
    found = decoder(tokens, order)
    assert found.shape == (2, 6, 4)
    for b in range(2):
        for t in range(6):
            seen = [k for k in range(2) if kept[b, k] == t]
            token = decoder.embed(tokens[b, 1 + seen[0]]) if seen else decoder.mask_token
            torch.testing.assert_close(found[b, t], decoder.pixels(token + decoder.position[1 + t]))


def test_fixed_positions_are_the_formula_and_no_parameters() -> None:
    height, width, dim = 3, 5, 12
    found = sincos(height, width, dim)
    for row in range(height):
        for column in range(width):
            by_hand = [
                function(place / 10000 ** (i / 3))
                for place in (row, column)
                for function in (math.sin, math.cos)
                for i in range(3)
            ]
            torch.testing.assert_close(found[row * width + column], torch.tensor(by_hand))
    fixed, learned = (ViT((1, 8, 8), **SMALL, positions=kind) for kind in ("sincos", "learned"))
    assert not fixed.position[0].any() and torch.equal(fixed.position[1:], sincos(2, 2, 8))
    assert set(learned.state_dict()) - set(fixed.state_dict()) == {"position"}
    assert not [name for name, _ in fixed.named_parameters() if "position" in name]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64), (2, 4, 12)])
@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_pictures_of_any_size(shape: tuple[int, ...], positions: Any) -> None:
    backbone = ViT(shape, **SMALL, positions=positions)
    tokens = backbone(torch.rand(2, *shape))
    assert tokens.shape == (2, 1 + shape[1] * shape[2] // 16, 8) and backbone.n_out == 8
    encoder = Encoder(backbone, partial(DiagonalNormalHead, z_dim=3), tokens="first")
    q = encoder(torch.rand(2, *shape))
    assert q.event_shape == (3,)
    q.mean.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_first_weights_are_glorots_and_are_drawn_again() -> None:
    torch.manual_seed(1)
    vit = ViT((3, 8, 8), 4, 64, 2, 4)
    for layer in [m for m in vit.modules() if isinstance(m, nn.Linear)]:
        n = layer.in_features + layer.out_features
        assert layer.weight.std().item() == pytest.approx((2 / n) ** 0.5, rel=0.1) and not layer.bias.any()
    assert vit.patches.weight.std().item() == pytest.approx((2 / (48 + 64)) ** 0.5, rel=0.1)
    assert vit.class_token.std().item() == pytest.approx(0.02, rel=0.4)
    again = untrained(vit, lambda network: network(torch.rand(2, 3, 8, 8)))
    for (name, old), (_, new) in zip(vit.named_parameters(), again.named_parameters(), strict=True):
        assert ("bias" in name or "norm" in name) == torch.equal(old, new), name


def test_stacked_networks_are_each_by_itself() -> None:
    torch.manual_seed(0)
    networks, x = [ViT((1, 8, 8), **SMALL) for _ in range(2)], torch.rand(4, 1, 8, 8)
    parameters, buffers = stack_module_state(list[nn.Module](networks))
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel of CPUs has no batching rule, which torch warns of
        stacked = vmap(lambda p, b: functional_call(networks[0], (p, b), (x,)))(parameters, buffers)
    for i, network in enumerate(networks):
        torch.testing.assert_close(stacked[i], network(x))


def test_errors_are_one_line() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"patch_size": 3}, "patch_size=3 does not divide the 8 x 12 pixels: choose of 1, 2, 4"),
        ({"patch_size": 16}, "patch_size=16 does not divide"),
        ({"n_heads": 3}, "n_heads=3 does not divide dim=8"),
        ({"depth": 0}, "depth=0: it must be at least 1"),
        ({"mlp_ratio": 0.0}, "mlp_dim=0: it must be at least 1"),
        ({"positions": "sincus"}, "no positions 'sincus': did you mean 'sincos'"),
        ({"positions": "sincos", "dim": 6}, "dim=6: it must be a multiple of 4"),
        ({"shape": (12,)}, r"shape=\[12\]: .* take pictures"),
    ]
    for arguments, says in wrong:
        with pytest.raises(UserError, match=says):
            ViT(**{"shape": (3, 8, 12), **SMALL, **arguments})
