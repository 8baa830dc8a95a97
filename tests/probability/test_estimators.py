"""Estimators of information: scores against loops, gradients, and estimates after a little training."""

import copy
import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from frame.architectures import critics
from frame.architectures.base import MLPEncoder
from frame.common.errors import UserError
from frame.probability import estimators as parts
from frame.probability import mutual_information as info
from frame.probability.estimators import InformationEstimator
from tests.slow import slow_but

ESTIMATORS: dict[str, type[InformationEstimator]] = {
    name: found
    for name, found in vars(parts).items()
    if inspect.isclass(found) and issubclass(found, InformationEstimator) and hasattr(found, "bound")
}
BOUNDS = {
    "InfoNCE": "lower",
    "NWJ": "lower",
    "JSD": "lower",
    "MINE": "neither",
    "SMILE": "neither",
    "CLUB": "upper",
}
X, Y = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))


def critic(n: int = 3) -> critics.JointCritic:
    torch.manual_seed(0)
    return critics.JointCritic(n, n, [8])


class Best(nn.Module):
    """log p(x, y) / (p(x) p(y)) of the Gaussians."""

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = rho

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return info.gaussian_log_ratio(x, y, self.rho)


class TrueConditional(nn.Module):
    """log p(y|x) of the Gaussians."""

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = rho

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.distributions.Normal(self.rho * x, math.sqrt(1 - self.rho**2)).log_prob(y).sum(-1)


def test_all_six_are_labelled() -> None:
    assert {name: found.bound for name, found in ESTIMATORS.items()} == BOUNDS


@pytest.mark.parametrize(
    "make",
    [
        critic,
        lambda: critics.SeparableCritic(3, 3, [8], n_embedding=4),
        lambda: critics.GaussianConditional(3, 3, [8]),
        lambda: parts.Conditional(MLPEncoder((3,), 3, [8])),
    ],
    ids=["joint", "separable", "gaussian", "conditional"],
)
def test_the_matrix_has_each_pair_s_score(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    f = make()
    matrix = parts.score_matrix(f, X, Y)
    for i in range(6):
        for j in range(6):
            torch.testing.assert_close(matrix[i, j], f(X[i : i + 1], Y[j : j + 1])[0])


def test_separable_critic_is_a_product_and_a_gaussian_conditional_its_formula() -> None:
    f = critics.SeparableCritic(3, 3, [8], n_embedding=4)
    torch.testing.assert_close(f(X, Y), torch.stack([a @ b for a, b in zip(f.g(X), f.h(Y), strict=True)]))
    g = critics.GaussianConditional(3, 3, [8])
    q = g.q(X)
    expected = (-((Y - q.mean) ** 2) / (2 * q.variance) - q.variance.log() / 2 - math.log(2 * math.pi) / 2).sum(1)
    torch.testing.assert_close(g(X, Y), expected)


@pytest.mark.parametrize("name", sorted(set(BOUNDS) - {"InfoNCE"}))
def test_pairs_are_all_others_or_the_row_before(name: str) -> None:
    f = critic()
    joint = torch.stack([f(X[i : i + 1], Y[i : i + 1])[0] for i in range(6)])
    apart = {
        "all": torch.stack([f(X[i : i + 1], Y[j : j + 1])[0] for i in range(6) for j in range(6) if i != j]),
        "rolled": torch.stack([f(X[i - 1 : i] if i else X[5:], Y[i : i + 1])[0] for i in range(6)]),
    }
    measures: dict[str, Callable[[Tensor], Tensor]] = {
        "NWJ": lambda q: info.nwj(1 + joint, 1 + q),
        "JSD": lambda q: info.nwj(1 + joint, 1 + q),
        "MINE": lambda q: info.donsker_varadhan(joint, q),
        "SMILE": lambda q: info.smile(joint, q, 5.0),
        "CLUB": lambda q: info.club(joint, q),
    }
    for pairs, scores in apart.items():
        estimator = ESTIMATORS[name](f, pairs=pairs)
        found = estimator(X, Y)
        torch.testing.assert_close(found["information"], measures[name](scores))
        if name in ("JSD", "SMILE"):
            torch.testing.assert_close(found["loss"], -info.jsd(joint, scores))
        elif name == "NWJ":
            torch.testing.assert_close(found["loss"], -found["information"])
        elif name == "CLUB":
            torch.testing.assert_close(found["loss"], -joint.mean())


def test_infonce_takes_all_pairs() -> None:
    f = critic()
    found = parts.InfoNCE(f)(X, Y)
    torch.testing.assert_close(found["information"], info.infonce(parts.score_matrix(f, X, Y)))
    torch.testing.assert_close(found["loss"], -found["information"])


@pytest.mark.parametrize("nats", [2.0, 4.0, 6.0, 8.0, 10.0])
def test_bounds_hold_with_the_best_critic(nats: float) -> None:
    """Batches of 64, as in the papers. Beyond 4 nats, NWJ and JSD need more than 60 batches: they vary like e^I."""
    dim = 20
    rho = info.gaussian_correlation(nats, dim)
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[Tensor]] = {name: [] for name in BOUNDS}
    estimators = {name: of(TrueConditional(rho) if name == "CLUB" else Best(rho)) for name, of in ESTIMATORS.items()}
    for _ in range(60):
        x, noise = torch.randn(2, 64, dim, generator=generator)
        y = rho * x + math.sqrt(1 - rho**2) * noise
        for name, estimator in estimators.items():
            found[name].append(estimator.eval()(x, y)["information"])
    for name, bound in BOUNDS.items():
        values = torch.stack(found[name])
        mean, error = values.mean().item(), 3 * values.std().item() / math.sqrt(60)
        if bound == "lower" and (nats <= 4 or name == "InfoNCE"):
            assert mean < nats + error, name
        elif bound == "upper":
            assert mean > nats - error, name
        if name == "InfoNCE":
            assert mean < math.log(64)
    # the gap is rho^2 / (1 - rho^2) per dimension
    assert torch.stack(found["CLUB"]).mean().item() == pytest.approx(dim * rho**2 / (1 - rho**2), rel=0.05)


def gradient(estimator: parts.MINE) -> list[Tensor]:
    estimator.critic.zero_grad()
    estimator(X, Y)["loss"].backward()
    return [p.grad.clone() for p in estimator.critic.parameters() if p.grad is not None]


def test_mine_without_an_average_has_donsker_and_varadhan_s_gradient() -> None:
    ours = parts.MINE(critic(), decay=0.0)
    found = gradient(ours)
    f = critic()
    scores = parts.score_matrix(f, X, Y)
    (-info.donsker_varadhan(scores.diagonal(), info.off_diagonal(scores))).backward()
    for a, parameter in zip(found, f.parameters(), strict=True):
        torch.testing.assert_close(a, parameter.grad)


def test_mine_divides_by_its_moving_average() -> None:
    """E[grad f] - E[e^f grad f] / average, the average over this batch and those before it."""
    estimator = parts.MINE(critic(), decay=0.9)
    average = 1.0
    for _ in range(3):
        found = gradient(estimator)
        f = critic()
        scores = parts.score_matrix(f, X, Y)
        joint, marginal = scores.diagonal(), info.off_diagonal(scores)
        average = 0.9 * average + 0.1 * marginal.exp().mean().item()
        (marginal.exp().mean() / average - joint.mean()).backward()
        for a, parameter in zip(found, f.parameters(), strict=True):
            torch.testing.assert_close(a, parameter.grad)
        assert estimator.log_average.item() == pytest.approx(math.log(average), abs=1e-5)
    kept = estimator.log_average.clone()
    estimator.eval()(X, Y)
    assert torch.equal(estimator.log_average, kept)


@pytest.mark.parametrize("name", slow_but(["InfoNCE", "CLUB"], [*BOUNDS]))
def test_a_little_training_finds_two_nats(name: str) -> None:
    """Two dimensions, 2 nats, new pairs each time; CLUB is e^2 - 1 = 2 rho^2 / (1 - rho^2) above the truth."""
    torch.manual_seed(0)
    rho = info.gaussian_correlation(2, 2)
    f: nn.Module = critics.JointCritic(2, 2, [32, 32])
    if name == "CLUB":
        f = critics.GaussianConditional(2, 2, [32])
    elif name == "InfoNCE":
        f = critics.SeparableCritic(2, 2, [32, 32], n_embedding=16)
    estimator = ESTIMATORS[name](f, **({} if name == "InfoNCE" else {"pairs": "rolled"}))
    n = 128 if name == "InfoNCE" else 512
    optimizer = torch.optim.Adam(estimator.parameters(), 3e-3)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        x, noise = torch.randn(2, n, 2)
        return x, rho * x + math.sqrt(1 - rho**2) * noise

    for _ in range(400):
        loss = estimator(*batch(n))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = estimator.eval()(*batch(1024 if name == "InfoNCE" else 50_000))["information"].item()
    expected = 2 * rho**2 / (1 - rho**2) if name == "CLUB" else 2
    assert found == pytest.approx(expected, rel=0.15)


def test_a_population_can_be_stacked_and_keeps_its_averages_apart() -> None:
    estimators = [parts.MINE(critic()) for _ in range(2)]
    with torch.no_grad():
        for parameter in estimators[1].parameters():
            parameter.mul_(2)
    parameters, buffers = torch.func.stack_module_state(list(estimators))
    one = copy.deepcopy(estimators[0])

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        found: dict[str, Tensor] = torch.func.functional_call(one, (parameters, buffers), (X, Y))
        return found["loss"]

    torch.func.vmap(torch.func.grad(loss))(parameters, buffers)
    for i, estimator in enumerate(estimators):
        estimator(X, Y)
        torch.testing.assert_close(buffers["log_average"][i], estimator.log_average)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="no pairs 'rolls': did you mean 'rolled'"):
        parts.NWJ(critic(), pairs="rolls")
    with pytest.raises(UserError, match="batches of at least 2 rows: change params.batch_size"):
        parts.JSD(critic())(X[:1], Y[:1])
    with pytest.raises(UserError, match="decay=1"):
        parts.MINE(critic(), decay=1)
    with pytest.raises(UserError, match="tau=0"):
        parts.SMILE(critic(), tau=0)
    with pytest.raises(UserError, match="n_y=0"):
        critics.JointCritic(3, 0, [8])
    with pytest.raises(UserError, match="n_embedding=0"):
        critics.SeparableCritic(3, 3, [8], n_embedding=0)
