from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import MLPDecoder
from frame.architectures.layers import Linear, mlp


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(layer: nn.Linear, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    layer.zero_grad()
    layer(x).relu().square().sum().backward()
    found = [x.grad, layer.weight.grad, layer.bias.grad]
    return [gradient for gradient in found if gradient is not None]


def same_as_torchs(layer: Linear) -> nn.Linear:
    torchs = nn.Linear(layer.in_features, layer.out_features)
    torchs.load_state_dict(layer.state_dict())
    return torchs


def test_a_wide_layer_is_torchs_by_columns(two_threads: None) -> None:
    torch.manual_seed(0)
    layer, x = Linear(256, 512), torch.randn(64, 256)
    torchs = same_as_torchs(layer)
    assert layer(x).stride() == (1, 64) and torch.equal(layer(x), torchs(x))
    for here, there in zip(gradients(layer, x), gradients(torchs, x), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-4)  # biases are summed in another order


@pytest.mark.parametrize(
    ("widths", "shape"),
    [((256, 512), (300, 256)), ((256, 512), (2, 8, 256)), ((64, 128), (8, 64))],
    ids=["more rows", "three dimensions", "few weights"],
)
def test_other_products_lie_in_memory_by_rows(two_threads: None, widths: tuple[int, int], shape: tuple[int]) -> None:
    layer, x = Linear(*widths), torch.randn(shape)
    assert layer(x).is_contiguous() and torch.equal(layer(x), same_as_torchs(layer)(x))


def test_one_thread_needs_no_columns() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert Linear(256, 512)(torch.randn(64, 256)).is_contiguous()
    torch.set_num_threads(before)


def test_what_an_mlp_returns_lies_by_rows_unless_a_linear_layer_reads_it(two_threads: None) -> None:
    x = torch.randn(64, 256)
    assert mlp(256, [512, 1024])(x).is_contiguous()
    assert mlp(256, [512, 1024], read_by_linear=True)(x).stride() == (1, 64)
    logits = MLPDecoder([1, 28, 28], 256, [1024])(x).base_dist.logits
    assert logits.is_contiguous()


def test_an_exported_layer_takes_any_number_of_rows(two_threads: None) -> None:
    network = mlp(256, [512, 512], read_by_linear=True).eval()
    rows = torch.export.Dim("rows")
    exported = torch.export.export(network, (torch.rand(2, 256),), dynamic_shapes=({0: rows},)).module()
    for n in (3, 300):
        x = torch.rand(n, 256)
        torch.testing.assert_close(exported(x), network(x))
