"""Projectors: their layers written out, what they normalise, and errors."""

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.layers import BatchNorm
from frame.architectures.projectors import Projector
from frame.common.errors import UserError


def normalised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()


def test_the_layers_are_linear_norm_relu_and_linear() -> None:
    torch.manual_seed(0)
    projector, h = Projector(5, 3, [7, 6]), torch.randn(9, 5)
    first, second = (layer for layer in projector.hidden if isinstance(layer, nn.Linear))
    assert first.bias is None and second.bias is None and projector.linear.bias is not None
    hidden = normalised(normalised(h @ first.weight.T).relu() @ second.weight.T).relu()
    torch.testing.assert_close(projector(h), hidden @ projector.linear.weight.T + projector.linear.bias)
    assert projector.z_dim == 3 and projector(h).shape == (9, 3)


def test_without_normalisation_rows_are_alone() -> None:
    torch.manual_seed(0)
    projector, h = Projector(5, 3, [7], batch_norm=False), torch.randn(9, 5)
    torch.testing.assert_close(projector(h)[:1], projector(h[:1]))
    assert not [module for module in projector.modules() if isinstance(module, BatchNorm)]
    linear = Projector(5, 3)
    torch.testing.assert_close(linear(h), h @ linear.linear.weight.T + linear.linear.bias)


def test_a_normalised_output_has_neither_bias_nor_scale() -> None:
    torch.manual_seed(0)
    projector = Projector(5, 3, [7], output_norm=True)
    z = projector(torch.randn(9, 5))
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(3), atol=1e-2, rtol=0)
    names = [name for name, _ in projector.named_parameters()]
    assert names == ["hidden.0.weight", "hidden.1.weight", "hidden.1.bias", "linear.weight"]


def test_every_normalisation_shares_its_batch_and_evaluation_uses_running_statistics() -> None:
    torch.manual_seed(0)
    projector, h = Projector(5, 3, [7], output_norm=True), torch.randn(9, 5)
    norms = [module for module in projector.modules() if isinstance(module, BatchNorm)]
    assert len(norms) == 2 and all(norm.shared and norm.running is not None for norm in norms)
    projector(h)
    projector.eval()
    torch.testing.assert_close(projector(h)[:1], projector(h[:1]))


def test_sizes_out_of_range_are_refused() -> None:
    for arguments, message in (((0, 3), "n_in=0"), ((5, 0), "z_dim=0")):
        with pytest.raises(UserError, match=f"{message}: it must be at least 1"):
            Projector(*arguments)
    with pytest.raises(UserError, match="every width must be a whole number"):
        Projector(5, 3, [0])
