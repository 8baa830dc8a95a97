"""MAE: how many patches are masked, that masks differ, and that the loss is that of masked patches alone."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import Encoder
from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.vit import PatchDecoder, ViT
from frame.common.errors import UserError
from frame.models.MAE import MAE, patches
from tests import digits

SHAPE = (3, 8, 12)


def encoder(patch_size: int = 2) -> Encoder:
    return Encoder(ViT(SHAPE, patch_size, 8, 1, 2), partial(DiagonalNormalHead, z_dim=3), tokens="first")


def small(**more: Any) -> MAE:
    torch.manual_seed(0)
    decoder: Any = partial(PatchDecoder, shape=SHAPE, dim=8, depth=1, n_heads=2)
    return MAE(encoder(), decoder, **more)


class Fixed(nn.Module):
    """Predicts the same numbers, whatever it is given."""

    def __init__(self, predicted: Tensor) -> None:
        super().__init__()
        self.predicted = nn.Parameter(predicted)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        self.tokens, self.order = tokens, order
        return self.predicted


@pytest.mark.parametrize("share, kept", [(0.75, 6), (0.5, 12), (0.9, 2), (0.05, 22), (1 / 3, 16), (2 / 3, 8)])
def test_the_same_number_of_patches_is_masked_in_each_row(share: float, kept: int) -> None:
    model = small(mask_share=share)
    numbers, order = model.masks(200, torch.device("cpu"))
    assert numbers.shape == (200, kept) and order.shape == (200, 24)
    assert ((order >= kept).sum(1) == 24 - kept).all()
    assert torch.equal(order.sort(1).values, torch.arange(24).expand(200, 24))
    for row in range(20):  # `order` sends each kept patch to its place, and the others behind them
        assert order[row, numbers[row]].tolist() == list(range(kept))


def test_masks_differ_by_row_are_seeded_and_are_uniform() -> None:
    model, found = small(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model.masks(2000, torch.device("cpu"))[1] >= model.n_kept)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert len(found[0][:50].unique(dim=0)) == 50
    torch.testing.assert_close(found[0].float().mean(0), torch.full((24,), 0.75), rtol=0, atol=0.05)


def slow_loss(x: Tensor, predicted: Tensor, order: Tensor, n_kept: int, normalised: bool) -> Tensor:
    """The mean over masked patches of the squared error, patch by patch."""
    errors = []
    for b in range(len(x)):
        for t in range(24):
            if order[b, t] < n_kept:
                continue
            row, column = divmod(t, 6)
            patch = x[b, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten()
            if normalised:
                patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            errors.append((predicted[b, t] - patch).square().mean())
    return torch.stack(errors).mean()


@pytest.mark.parametrize("normalised", [False, True])
def test_the_loss_is_that_of_masked_patches_alone(normalised: bool) -> None:
    model = small(normalised=normalised)
    x, decoder = torch.rand(3, *SHAPE), Fixed(torch.randn(3, 24, 12))
    model.decoder = decoder
    loss = model({"x": x})["loss"]
    torch.testing.assert_close(loss, slow_loss(x, decoder.predicted, decoder.order, 6, normalised))
    loss.backward()
    assert decoder.predicted.grad is not None
    masked = decoder.order >= 6
    assert torch.equal(decoder.predicted.grad.abs().sum(2) > 0, masked)


def test_the_encoder_sees_nothing_of_masked_patches() -> None:
    """The loss does not change with the pixels of masked patches, but for their targets."""
    model = small(normalised=False)
    x = torch.rand(2, *SHAPE, requires_grad=True)
    decoder = Fixed(torch.zeros(2, 24, 12))
    model.decoder = decoder
    model({"x": x})
    decoder.tokens.square().sum().backward()
    assert x.grad is not None
    touched = patches(x.grad, 2).abs().sum(2) > 0
    assert torch.equal(touched, decoder.order < 6)


def test_patches_are_in_the_order_of_the_vit_s_tokens() -> None:
    x, model = torch.rand(2, *SHAPE), small()
    vit = model.encoder.backbone
    by_hand = patches(2 * x - 1, 2) @ vit.patches.weight.flatten(1).T + vit.patches.bias
    torch.testing.assert_close(by_hand, vit.patches(2 * x - 1).flatten(2).transpose(1, 2))


def test_whole_pictures_are_encoded_without_a_mask() -> None:
    model, x = small(), torch.rand(2, *SHAPE)
    torch.testing.assert_close(model.encode(x).mean, model.features(x))
    torch.testing.assert_close(model.features(x), model.encoder.backbone(x)[:, 0])
    torch.testing.assert_close(model.features(x), model.features(x))
    loss = model({"x": x})["loss"]
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_patch_of_one_colour_has_finite_targets() -> None:
    assert small().targets(torch.full((1, *SHAPE), 0.3)).abs().max() < 1e-3


def test_errors_are_one_line() -> None:
    for share in (0.0, 1.0, 0.99, -0.5):
        with pytest.raises(UserError, match=f"mask_share={share}: of 24 patches at least one must be masked"):
            small(mask_share=share)
    with pytest.raises(UserError, match="MAE masks patches, and MLPBackbone has none: give it a ViT"):
        MAE(digits.Encoder(3, [8]), nn.Identity())
    with pytest.raises(UserError, match=r"patch_size differs \(encoder 4, decoder 2\)"):
        MAE(encoder(4), PatchDecoder(SHAPE, 2, 8, 8, 1, 2))
    with pytest.raises(UserError, match="patch_size=5 does not divide the 8 x 12 pixels"):
        PatchDecoder(SHAPE, 5, 8)
