"""VQ-VAE against loops and formulas written from the paper, on flat latents and on maps."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures.base import MLPDecoder, NormalPicture
from frame.common.errors import UserError
from frame.data.base import Batch
from frame.evaluation.base import BoundsLikelihood, Encodes, HasFeatures, Reconstructs
from frame.evaluation.codebook import Quantises
from frame.models.base import ConditionalDistribution, straight_through
from frame.models.FSQ import FSQ
from frame.models.VQVAE import VQVAE
from frame.probability.distributions import Delta

SHAPES = {"flat": (), "row": (5,), "map": (2, 3)}
K, D = 7, 4


class Doubled(ConditionalDistribution):
    """z_e = 2x."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Delta:
        return Delta(self.scale * x)


class Stretched(ConditionalDistribution):
    """p(x|z) = N(1.5 z, 1/2), so that -log p is the squared error and 1/2 log pi for each value."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.picture = NormalPicture(math.sqrt(0.5))

    def forward(self, z: Tensor) -> Distribution:
        return self.picture((self.scale * z).unsqueeze(1))


def x_of(where: tuple[int, ...], n: int = 6, seed: int = 0) -> Batch:
    return {"x": torch.randn(n, D, *where, generator=torch.Generator().manual_seed(seed))}


def model_of(**options: Any) -> VQVAE:
    torch.manual_seed(1)
    return VQVAE(Doubled(), Stretched(), **{"n_codes": K, "z_dim": D, "commitment": 0.3, **options})


def vectors_of(z: Tensor) -> list[Tensor]:
    """The vectors along dimension 1, row by row, place by place."""
    return [place for row in z.detach() for place in row.flatten(1).T] if z.dim() > 2 else list(z.detach())


def nearest(codebook: list[Tensor], z: Tensor) -> int:
    return min(range(len(codebook)), key=lambda k: (z - codebook[k]).square().sum().item())


@pytest.mark.parametrize("where", SHAPES.values(), ids=SHAPES)
def test_the_nearest_code_is_that_of_brute_force(where: tuple[int, ...]) -> None:
    model, batch = model_of(), x_of(where)
    z_e = model.encoder(batch["x"]).mean
    z_q, indices = model.quantised(z_e)
    assert indices.shape == (6, *where) and indices.dtype == torch.int64 and z_q.shape == z_e.shape
    assert torch.equal(model.quantise(batch["x"]), indices)
    brute = [nearest(list(model.codebook), z) for z in vectors_of(z_e)]
    assert indices.flatten().tolist() == brute and len(set(brute)) > 1
    for vector, k in zip(vectors_of(z_q), brute, strict=True):
        assert torch.equal(vector, model.codebook[k])  # exactly
    assert torch.equal(model.encode(batch["x"]).mean, z_q.flatten(1))
    assert torch.equal(model.codes(indices).movedim(-1, 1), z_q)


def test_the_straight_through_gradient_is_that_of_the_identity() -> None:
    z = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(3, 4)
    (weight * straight_through(z, z.round())).sum().backward()
    assert z.grad is not None and torch.equal(z.grad, weight)


@pytest.mark.parametrize("where", SHAPES.values(), ids=SHAPES)
def test_the_encoder_gets_the_decoders_gradient_and_the_commitments(where: tuple[int, ...]) -> None:
    """d/dz_e: that of -log p at z_q, as if z_q were z_e, and 2 * commitment * (z_e - e); mean over the batch."""
    model, batch = model_of(), x_of(where)
    found: list[Tensor] = []

    def keep(module: nn.Module, given: Any, output: Delta) -> None:
        output.mean.retain_grad()
        found.append(output.mean)

    model.encoder.register_forward_hook(keep)
    model(batch)["loss"].backward()
    (z_e,) = found
    z_q = model.quantised(z_e)[0].detach()
    expected = 2 * 1.5 * (1.5 * z_q - batch["x"]) + 2 * 0.3 * (z_e.detach() - z_q)
    assert z_e.grad is not None
    torch.testing.assert_close(z_e.grad, expected / 6)


@pytest.mark.parametrize("decay", [0.99, None])
@pytest.mark.parametrize("where", SHAPES.values(), ids=SHAPES)
def test_the_loss_is_eq_3(where: tuple[int, ...], decay: float | None) -> None:
    model, batch = model_of(decay=decay), x_of(where)
    losses = model(batch)
    total, distance = batch["x"].numel() / 2 * math.log(math.pi), 0.0
    for x, z in zip(vectors_of(batch["x"]), vectors_of(model.encoder(batch["x"]).mean), strict=True):
        e = model.codebook[nearest(list(model.codebook), z)].detach()
        total += (x - 1.5 * e).square().sum().item()
        distance += (z - e).square().sum().item()
    weight = 0.3 if decay else 1.3  # both norms in eq. 3 have the same value
    assert losses["distance"].item() == pytest.approx(distance / 6, rel=1e-5)
    assert losses["loss"].item() == pytest.approx((total + weight * distance) / 6, rel=1e-5)


def test_recipes_in_means_are_the_loss_over_a_constant() -> None:
    """mse(x) / var + 0.25 mse(z_e), times n_x: gradients of all parameters agree."""
    variance, n_x, n_z = 0.07, 3 * 4 * 4, D * 6
    torch.manual_seed(0)
    decoder = MLPDecoder((3, 4, 4), n_z, [], distribution=NormalPicture(math.sqrt(variance / 2)))
    encoder = nn.Linear(n_x, n_z)

    class Encoder(ConditionalDistribution):
        def forward(self, x: Tensor) -> Delta:
            return Delta(encoder(x.flatten(1)).view(-1, D, 2, 3))

    class Decoder(ConditionalDistribution):
        def forward(self, z: Tensor) -> Distribution:
            return decoder(z.flatten(1))

    model = VQVAE(Encoder(), Decoder(), n_codes=K, z_dim=D, commitment=0.25 * n_x / n_z)
    x = torch.rand(5, 3, 4, 4)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    ours = torch.autograd.grad(model({"x": x})["loss"], parameters)
    z_e = model.encoder(x).mean
    z_q = model.quantised(z_e)[0]
    mse, commitment = (decoder(z_q.flatten(1)).mean - x).square().mean(), (z_e - z_q.detach()).square().mean()
    theirs = torch.autograd.grad(mse / variance + 0.25 * commitment, parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, n_x * b)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("where", SHAPES.values(), ids=SHAPES)
def test_the_codebook_is_the_moving_average_of_appendix_a1(where: tuple[int, ...], accumulate: int) -> None:
    model = model_of(decay=0.8)
    e = [code.clone() for code in model.codebook]
    N, m = [1.0] * K, [code.clone() for code in e]
    for update in range(5):
        n, s = [0] * K, [torch.zeros(D) for _ in range(K)]
        for batch in (x_of(where, seed=10 * update + i) for i in range(accumulate)):
            model(batch)
            for z in vectors_of(model.encoder(batch["x"]).mean):
                k = nearest(e, z)
                n[k] += 1
                s[k] += z
        model.after_update(update + 1)
        for k in range(K):
            N[k] = 0.8 * N[k] + 0.2 * n[k]
            m[k] = 0.8 * m[k] + 0.2 * s[k]
            e[k] = m[k] / N[k]
    torch.testing.assert_close(model.codebook, torch.stack(e), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.N, torch.tensor(N))
    assert not model.counts.any() and not model.sums.any()


def test_evaluations_collect_nothing_and_the_gradient_moves_no_code() -> None:
    model = model_of(decay=0.5)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    model(x_of(()))
    model.quantise(x_of(())["x"])
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert "codebook" not in dict(model.named_parameters())
    assert "codebook" in dict(model_of(decay=None).named_parameters())


def test_without_decay_the_codebook_follows_the_gradient() -> None:
    """A code's gradient is the mean over the batch of 2 (e - z_e) over its vectors."""
    model, batch = model_of(decay=None), x_of((2, 3))
    model(batch)["loss"].backward()
    expected = torch.zeros(K, D)
    for z, k in zip(vectors_of(model.encoder(batch["x"]).mean), model.quantise(batch["x"]).flatten(), strict=True):
        expected[k] += 2 * (model.codebook[k].detach() - z) / 6
    torch.testing.assert_close(model.codebook.grad, expected)
    before = model.codebook.detach().clone()
    model.after_update(1)
    assert torch.equal(model.codebook, before)


def test_a_code_that_is_never_used_does_not_change() -> None:
    model = model_of(decay=0.5)
    model.codebook[3] = model.m[3] = 1000.0
    for i in range(300):  # 0.5^300 is 0 in float32
        model(x_of(()))
        model.after_update(i)
    assert model.N[3] == 0 and (model.codebook[3] == 1000).all() and model.codebook.isfinite().all()


@pytest.mark.parametrize(("revive_below", "revived"), [(0.2, True), (0.0, False)])
def test_dead_codes_are_revived_as_vectors_of_the_batch(revive_below: float, revived: bool) -> None:
    model, batch = model_of(decay=0.5, revive_below=revive_below), x_of((2, 3))
    model.codebook[3] = model.m[3] = 1000.0
    for i in range(1, 4):  # N = 1/2, 1/4, 1/8
        assert (model.codebook[3] == 1000).all()
        torch.manual_seed(i)
        model(batch)
        model.after_update(i)
    alive = [vector for vector in vectors_of(model.encoder(batch["x"]).mean) if torch.equal(vector, model.codebook[3])]
    assert bool(alive) is revived
    assert model.N[3] == (1 if revived else 1 / 8)
    assert torch.equal(model.m[3], model.codebook[3] if revived else torch.full((D,), 125.0))
    assert (3 in model.quantise(batch["x"])) is revived


def test_the_perplexity_of_a_batch_is_logged() -> None:
    model, batch = model_of(), x_of((2, 3))
    frequencies = torch.bincount(model.quantise(batch["x"]).flatten(), minlength=K) / 36
    entropy = -sum(p * math.log(p) for p in frequencies.tolist() if p)
    assert model(batch)["perplexity"].item() == pytest.approx(math.exp(entropy), rel=1e-5)


def test_capabilities() -> None:
    for model in (model_of(), FSQ(Doubled(), Stretched(), [5, 4, 3, 2])):
        for capability in (Encodes, Reconstructs, Quantises, HasFeatures):
            assert isinstance(model, capability)
        assert not isinstance(model, BoundsLikelihood)
        x = x_of(())["x"]
        torch.testing.assert_close(model.reconstruct(x), 1.5 * model.encode(x).mean)
        assert not torch.equal(model.reconstruct(x, sample_images=True), model.reconstruct(x))


def test_errors_are_named() -> None:
    for options, words in (
        ({"n_codes": 1}, "n_codes=1: it must be at least 2"),
        ({"commitment": -1.0}, "commitment=-1"),
        ({"decay": 1.0}, "decay=1.0: it must lie in"),
        ({"revive_below": 1.5}, "revive_below=1.5"),
        ({"revive_below": 0.1, "decay": None}, "be 0 if decay is null"),
    ):
        with pytest.raises(UserError, match=words):
            model_of(**options)
    decoder = MLPDecoder((1, 2, 2), 3, [])
    with pytest.raises(UserError, match=r"z_dim differs \(decoder 3, codes 4\)"):
        VQVAE(Doubled(), decoder, n_codes=K, z_dim=D, commitment=0.25)


def test_the_state_of_an_update_is_in_the_checkpoint() -> None:
    model, again = model_of(revive_below=0.2, decay=0.5), model_of(revive_below=0.2, decay=0.5)
    for i in range(3):
        model(x_of((), seed=i))
        model.after_update(i)
    model(x_of((), seed=3))
    again.load_state_dict(model.state_dict())
    for each in (model, again):
        each.after_update(4)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))
