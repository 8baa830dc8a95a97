"""Residual networks: sizes of the paper, the layers written out, running statistics, refusals."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from frame.architectures.base import Encoder
from frame.architectures.heads import CategoricalHead, DeltaMapHead, DiagonalNormalHead
from frame.architectures.resnet import Block, ResNet
from frame.common.errors import UserError
from frame.evaluation.floors import untrained

IMAGENET = (3, 224, 224)


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("depth, published", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)])
def test_a_classifier_of_1000_classes_has_the_published_number_of_parameters(depth: int, published: int) -> None:
    with torch.device("meta"):
        backbone = ResNet(IMAGENET, depth, stem="large")
        network = Encoder(backbone, partial(CategoricalHead, n_classes=1000))
    assert n_parameters(network) == published
    assert backbone.n_out == (512 if depth < 50 else 2048)


@pytest.mark.parametrize("width", [64, 8])
def test_the_small_stem_by_hand(width: int) -> None:
    """Two 3 x 3 convolutions per block, 1 x 1 shortcuts if the width changes, two numbers per channel for each BN."""

    def conv(n_in: int, n_out: int, kernel: int) -> int:
        return n_in * n_out * kernel**2 + 2 * n_out

    w = [width, 2 * width, 4 * width, 8 * width]
    total = conv(3, width, 3) + 4 * conv(width, width, 3)
    for n_in, n_out in zip(w[:-1], w[1:], strict=True):
        total += conv(n_in, n_out, 3) + 3 * conv(n_out, n_out, 3) + conv(n_in, n_out, 1)
    assert n_parameters(ResNet((3, 32, 32), width=width)) == total


def bn(x: Tensor) -> Tensor:
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_blocks_written_out() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 6, 6)
    basic = Block(3, 5, stride=2)
    w1, w2, w = (p for p in basic.parameters() if p.dim() == 4)
    h = bn(nn.functional.conv2d(x, w1, stride=2, padding=1)).relu()
    h = bn(nn.functional.conv2d(h, w2, padding=1))
    torch.testing.assert_close(basic(x), (h + bn(nn.functional.conv2d(x, w, stride=2))).relu())
    deep = Block(3, 3, stride=1, bottleneck=2)
    w1, w2, w3 = (p for p in deep.parameters() if p.dim() == 4)
    h = bn(nn.functional.conv2d(x, w1)).relu()
    h = bn(nn.functional.conv2d(h, w2, padding=1)).relu()
    torch.testing.assert_close(deep(x), (bn(nn.functional.conv2d(h, w3)) + x).relu())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64), (2, 9, 13)])
@pytest.mark.parametrize("stem", ["small", "large"])
def test_pictures_of_any_size(shape: tuple[int, ...], stem: Any) -> None:
    x = torch.rand(3, *shape)
    for depth, n_out in ((18, 32), (50, 128)):
        backbone = ResNet(shape, depth, width=4, stem=stem, pooled=False)
        found = backbone(x)
        sides = list(shape[1:])
        for _ in range(3 if stem == "small" else 5):
            sides = [-(-side // 2) for side in sides]
        assert backbone.n_out == n_out and found.shape == (3, n_out, *sides)
    pooled = ResNet(shape, width=4, stem=stem)
    pooled.load_state_dict(ResNet(shape, width=4, stem=stem, pooled=False).state_dict())
    assert pooled(x).shape == (3, 32)


def test_shared_statistics_are_its_own_in_one_process() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 8, 8)
    for depth in (18, 50):
        plain, shared = (ResNet((3, 8, 8), depth, width=4, shared_statistics=value) for value in (False, True))
        assert n_parameters(plain) == n_parameters(shared)
        for mine, their in zip(shared.parameters(), plain.parameters(), strict=True):
            mine.data.copy_(their.data)
        torch.testing.assert_close(shared(x), plain(x), rtol=1e-4, atol=1e-5)


def test_pooled_features_are_the_mean_of_the_map_and_encoders_take_either() -> None:
    torch.manual_seed(0)
    backbone, x = ResNet((3, 8, 8), width=4).eval(), torch.rand(3, 3, 8, 8)
    encoder = Encoder(backbone, partial(DiagonalNormalHead, z_dim=2))
    pooled = encoder.features(x)
    backbone.pooled = False
    torch.testing.assert_close(encoder.features(x), pooled)
    torch.testing.assert_close(backbone(x).mean((2, 3)), pooled)
    assert encoder(x).event_shape == (2,)
    assert Encoder(backbone, partial(DeltaMapHead, z_dim=2))(x).event_shape == (2, 1, 1)


def test_in_evaluation_rows_do_not_see_one_another() -> None:
    torch.manual_seed(0)
    backbone, x = ResNet((1, 8, 8), width=4), torch.rand(5, 1, 8, 8)
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    backbone(x)
    assert not torch.equal(dict(backbone.named_buffers())["stem.0.1.running_mean"], before["stem.0.1.running_mean"])
    backbone.eval()
    torch.testing.assert_close(backbone(x)[:1], backbone(x[:1]))


@pytest.mark.parametrize("stem, side", [("small", 8), ("large", 32)])
def test_a_batch_of_one_row_is_one_line_where_it_cannot_be_normalised(stem: Any, side: int) -> None:
    """The last batch of an epoch may have one row."""
    for shape, fits in (((1, side, side), False), ((1, side, side + 1), True)):
        backbone = ResNet(shape, width=2, stem=stem, pooled=False)
        assert (backbone.eval()(torch.rand(1, *shape)).shape[2:].numel() > 1) == fits
        backbone.train()
        if fits:
            backbone(torch.rand(1, *shape))
            continue
        with pytest.raises(UserError, match="^batch normalisation needs two rows, .* change params.batch_size$"):
            backbone(torch.rand(1, *shape))


def test_first_weights_keep_the_size_of_gradients_and_are_drawn_again() -> None:
    torch.manual_seed(1)
    backbone = ResNet((3, 8, 8), width=32)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            n = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / n) ** 0.5, rel=0.1)
    again = untrained(backbone, lambda network: network(torch.rand(2, 3, 8, 8)))
    first, second = (next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight for net in (backbone, again))
    assert not torch.equal(first, second) and second.std().item() == pytest.approx(first.std().item(), rel=0.2)


def test_stacked_networks_are_each_by_itself() -> None:
    torch.manual_seed(0)
    networks, x = [ResNet((1, 8, 8), width=4) for _ in range(2)], torch.rand(4, 1, 8, 8)
    parameters, buffers = stack_module_state(list[nn.Module](networks))
    stacked = vmap(lambda p, b: functional_call(networks[0], (p, b), (x,)))(parameters, buffers)
    for i, network in enumerate(networks):
        torch.testing.assert_close(stacked[i], network(x), rtol=1e-4, atol=1e-5)


def test_errors_are_one_line() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"depth": 20}, "depth=20: a ResNet has 18, 34, 50, 101, 152 layers"),
        ({"width": 0}, "width=0: it must be at least 1"),
        ({"stem": "smal"}, "no stem 'smal': did you mean 'small'"),
        ({"shape": (12,)}, r"shape=\[12\]: .* take pictures"),
    ]
    for arguments, says in wrong:
        with pytest.raises(UserError, match=says):
            ResNet(**{"shape": (3, 8, 8), **arguments})
