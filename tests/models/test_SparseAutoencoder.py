"""Sparse autoencoder: the active units, gradients, and when a unit counts as dead."""

from typing import Any

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.evaluation.base import Encodes, Reconstructs
from frame.models.SparseAutoencoder import SparseAutoencoder

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def small(
    n_units: int = 24, k: int = 3, k_aux: int = 4, aux_weight: Any = 0.0, dead_after: int = 2
) -> SparseAutoencoder:
    torch.manual_seed(0)
    model = SparseAutoencoder(16, n_units, k, k_aux, aux_weight, dead_after)
    with torch.no_grad():  # away from the initial values
        model.centre.uniform_(0, 0.1)
        model.atoms.mul_(torch.rand(n_units) + 0.5)
        model.encoder.bias.normal_()
    return model


def test_the_k_largest_units_of_each_row_are_active() -> None:
    for k in (1, 3, 24):
        model = small(k=k)
        units = model.encoder(X.flatten(1) - model.centre)
        z = model.encode(X).mean
        assert ((z != 0).sum(1) == k).all()
        for row, all_units in zip(z, units, strict=True):
            kept = sorted(all_units.tolist(), reverse=True)[:k]
            torch.testing.assert_close(row[row != 0].sort(descending=True).values, torch.tensor(kept))
        assert model({"x": X})["l0"].item() == k


def test_loss_against_sums_over_atoms() -> None:
    """x' = sum over i of z_i atom_i / |atom_i| + b; |x - x'|^2 summed over pixels."""
    model = small()
    z = model.encode(X).mean
    total = 0.0
    for picture, code in zip(X.flatten(1), z, strict=True):
        rebuilt = model.centre.clone()
        for i in range(24):
            rebuilt = rebuilt + code[i] * model.atoms[:, i] / model.atoms[:, i].norm()
        total += (picture - rebuilt).square().sum().item()
    losses = model({"x": X})
    assert losses["distortion"].item() == pytest.approx(total / 6, rel=1e-5)
    assert torch.equal(losses["loss"], losses["distortion"])  # aux_weight 0
    torch.testing.assert_close((X - model.reconstruct(X)).square().flatten(1).sum(1).mean(), losses["distortion"])


def test_only_active_units_get_gradients() -> None:
    model = small()
    model({"x": X})["loss"].backward()
    at_work = (model.encode(X).mean != 0).any(0)
    assert 0 < at_work.sum() < 24
    for gradient in (model.encoder.weight.grad, model.encoder.bias.grad):
        assert gradient is not None
        assert torch.equal(gradient.reshape(24, -1).any(1), at_work)
    assert model.atoms.grad is not None and torch.equal(model.atoms.grad.any(0), at_work)


def test_norms_of_atoms_do_not_matter() -> None:
    model = small()
    before = model({"x": X})["loss"]
    with torch.no_grad():
        model.atoms.mul_(7.0)
    torch.testing.assert_close(model({"x": X})["loss"], before)
    torch.testing.assert_close(model.combine(torch.eye(24)).norm(dim=1), torch.ones(24))


def fed(model: SparseAutoencoder, x: Tensor, updates: int) -> None:
    for iteration in range(updates):
        model({"x": x})
        model.after_update(iteration + 1)


def test_inactive_units_are_dead_after_the_given_updates() -> None:
    model = small(dead_after=2)
    idle = ~(model.encode(X).mean != 0).any(0)
    for updates, dead in ((0, 0.0), (1, 0.0), (2, idle.float().mean().item()), (3, idle.float().mean().item())):
        model = small(dead_after=2)
        fed(model, X, updates)
        assert model({"x": X})["dead"].item() == pytest.approx(dead)
        assert torch.equal(model.idle > 0, idle if updates else torch.zeros(24, dtype=torch.bool))
    others = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    fed(model, others, 1)
    awake = (model.encode(others).mean != 0).any(0)
    assert (idle & awake).any() and not model.idle[awake].any()  # activity resets the count


def test_an_evaluation_does_not_count_activity() -> None:
    model = small()
    model.eval()
    fed(model, X, 1)
    assert not model.at_work.any() and (model.idle == 1).all()


def test_dead_units_learn_from_the_error() -> None:
    """With a second loss, dead units get a gradient: that of |e - sum of the k_aux largest dead units|^2, e fixed."""
    model = small(aux_weight=0.5)
    fed(model, X, 2)
    dead = model.idle >= 2
    losses = model({"x": X})
    torch.testing.assert_close(losses["loss"], losses["distortion"] + 0.5 * losses["revival"])
    units = model.encoder(X.flatten(1) - model.centre)
    error = (X - model.reconstruct(X)).flatten(1).detach()
    total = torch.zeros(())
    for row, e in zip(units, error, strict=True):
        chosen = sorted(dead.nonzero().flatten().tolist(), key=lambda i: -row[i].item())[:4]
        made = sum(row[i] * model.atoms[:, i] / model.atoms[:, i].norm() for i in chosen)
        total = total + (e - made).square().sum()
    torch.testing.assert_close(losses["revival"], total / 6)
    expected = torch.autograd.grad(total / 6, [model.atoms], retain_graph=True)[0]
    (found,) = torch.autograd.grad(losses["revival"], [model.atoms])
    torch.testing.assert_close(found, expected)
    assert found[:, dead].any() and not found[:, ~dead].any()


def test_fewer_dead_units_than_k_aux() -> None:
    model = small(k_aux=24, aux_weight=1.0)
    fed(model, X, 3)
    losses = model({"x": X})
    assert losses["loss"].isfinite() and 0 < losses["dead"] < 1
    model.idle.zero_()
    losses = model({"x": X})
    torch.testing.assert_close(losses["revival"], losses["distortion"])  # the error is not reconstructed at all
    (gradient,) = torch.autograd.grad(losses["loss"], [model.atoms])
    (alone,) = torch.autograd.grad(model({"x": X})["distortion"], [model.atoms])
    assert torch.equal(gradient, alone)


def test_capabilities_and_errors() -> None:
    model = small()
    assert isinstance(model, Encodes) and isinstance(model, Reconstructs)
    assert model.reconstruct(X).shape == X.shape
    with pytest.raises(UserError, match="k=0: it must be at least 1"):
        small(k=0)
    with pytest.raises(UserError, match="k=25 and k_aux=4 of n_units=24: there are fewer units"):
        small(k=25)
    with pytest.raises(UserError, match="aux_weight=-1"):
        small(aux_weight=-1)
