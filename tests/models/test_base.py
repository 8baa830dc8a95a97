"""What methods share: an encoder without its head, a projector that is made for it, a teacher, cosines."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import MLPEncoder
from frame.architectures.projectors import Projector
from frame.architectures.resnet import ResNet
from frame.common.errors import UserError
from frame.common.schedules import Linear
from frame.models.base import (
    JointEmbeddingModel,
    Teacher,
    above_zero,
    cosines,
    embedding_size,
    headless,
    product,
    sized,
    two_views,
)
from tests.joint import Flat, Same, networks, views


def test_an_encoder_loses_its_head_and_its_z_dim_and_keeps_its_features() -> None:
    encoder, x = MLPEncoder((5,), 2, [6, 7]), torch.randn(4, 5)
    features = encoder.features(x)
    n_parameters = sum(p.numel() for p in encoder.parameters())
    found = headless(encoder)
    assert found is encoder and not hasattr(encoder, "z_dim")
    assert sum(p.numel() for p in encoder.parameters()) == n_parameters - (7 * 4 + 4)
    assert torch.equal(encoder.features(x), features)
    assert torch.equal(encoder(x).mean, features)  # q(z|x) has all mass at them
    flat = Flat(3)
    assert headless(flat) is flat
    with pytest.raises(UserError, match=r"Linear has no features\(x\), which the method trains"):
        headless(nn.Linear(2, 2))


def test_a_projector_is_made_for_the_features_or_taken_as_it_is() -> None:
    encoder = MLPEncoder((5,), 2, [6, 7])
    model = JointEmbeddingModel(encoder, partial(Projector, z_dim=3, layers=[8]))
    assert model.projector.n_in == 7 and model.embed(torch.randn(4, 5)).shape == (4, 3)
    own = nn.Linear(7, 3)
    assert JointEmbeddingModel(MLPEncoder((5,), 2, [6, 7]), own).projector is own
    with pytest.raises(UserError, match="Thing has no n_out, .*: give it one, or the projector n_in"):
        sized(partial(Projector, z_dim=3), "projector", None, "Thing")
    with pytest.raises(UserError, match="projector must be a torch.nn.Module, and is 3"):
        sized(3, "projector", 7, "Thing")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="projector must be a torch.nn.Module"):
        sized(partial(dict), "projector", 7, "Thing")


class Bare(nn.Module):
    """A network of a user's own, with features and nothing else."""

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_an_encoder_whose_number_of_features_is_not_known_takes_a_projector_that_is_made() -> None:
    with pytest.raises(UserError, match="Bare has no n_out"):
        JointEmbeddingModel(Bare(), partial(Projector, z_dim=3))
    model = JointEmbeddingModel(Bare(), Projector(5, 3))
    assert model.embed(torch.randn(4, 5)).shape == (4, 3)


def test_a_teacher_is_a_copy_without_parameters_or_gradients() -> None:
    encoder, projector = networks()
    teacher, x = Teacher(encoder, projector, 0.9), torch.randn(6, 5)
    assert not [*teacher.parameters()]
    assert {name for name in teacher.state_dict() if name.startswith("encoder.")} == {
        f"encoder.{name}" for name in encoder.state_dict()
    }
    z, own = teacher.embed(x), projector(encoder.features(x))
    torch.testing.assert_close(z, own)
    assert not z.requires_grad and own.requires_grad
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    torch.testing.assert_close(teacher.embed(x), z)


def test_weights_that_a_network_shares_stay_one_in_a_teacher() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    encoder = nn.Sequential(first, second)
    teacher = Teacher(encoder, nn.Linear(3, 2), 0.0)
    with torch.no_grad():
        first.weight.add_(1.0)
    teacher.follow(encoder, nn.Linear(3, 2))
    assert teacher.encoder[1].weight is teacher.encoder[0].weight
    torch.testing.assert_close(teacher.encoder[0].weight, first.weight.detach())


def test_a_teacher_follows_by_its_decay_which_may_be_a_schedule() -> None:
    encoder, projector = networks()
    teacher = Teacher(encoder, projector, Linear(0.5, 1.0, "2 iterations"))
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *projector.parameters()]:
            parameter.add_(1.0)
    assert isinstance(teacher.decay, Linear)
    moved = 0.0
    for iteration, decay in enumerate((0.5, 0.75, 1.0)):
        teacher.decay.advance({"iterations": iteration})
        teacher.follow(encoder, projector)
        moved += (1 - moved) * (1 - decay)
        for name, _ in encoder.named_parameters():
            torch.testing.assert_close(teacher.get_buffer(f"encoder.{name}"), before[f"encoder.{name}"] + moved)
    for decay in (-0.1, 1.1):
        with pytest.raises(UserError, match=f"decay={decay}: it must"):
            Teacher(encoder, projector, decay)


def test_statistics_of_a_teacher_are_its_own() -> None:
    torch.manual_seed(0)
    encoder, projector = ResNet((3, 8, 8), width=2), Projector(16, 3, [4])
    encoder.features = encoder.forward  # type: ignore[assignment]
    teacher, x = Teacher(encoder, projector, 0.75), torch.rand(6, 3, 8, 8)
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    statistics = [name for name in before if name.endswith(("running_mean", "running_var", ".running"))]
    assert len(statistics) > 10
    projector(encoder(x))
    teacher.follow(encoder, projector)
    assert all(torch.equal(teacher.get_buffer(name), before[name]) for name in statistics)
    teacher.embed(x)
    assert not any(torch.equal(teacher.get_buffer(name), before[name]) for name in statistics)


def test_products_and_cosines_are_float32_under_autocast() -> None:
    a, b = views(5, 3)
    expected = [[float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) for y in b.double()] for x in a.double()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, product_ = cosines(a, b), product(a.bfloat16(), b.T)
    assert found.dtype == product_.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected))
    assert cosines(torch.zeros(1, 3), b).isfinite().all()


def test_numbers_and_views_that_do_not_fit_are_refused() -> None:
    assert above_zero("temperature", 0.5)().item() == 0.5
    for value, message in ((0.0, "it must be above 0"), (-1.0, "it must be at least 0"), ("warm", "give a number")):
        with pytest.raises(UserError, match=f"temperature={value:g}: {message}" if value != "warm" else message):
            above_zero("temperature", value)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="temperature=0: it must be above 0"):
        above_zero("temperature", Linear(1.0, 0.0, "5 epochs"))
    pair = views(4, 3)
    assert two_views({"views": pair}) == (pair[0], pair[1])
    for n_views in (1, 3):
        with pytest.raises(UserError, match=f"takes two views, and each batch has {n_views}: set data.n_views=2"):
            two_views({"views": views(4, 3, n_views)})
    assert embedding_size(Same(3)) == 3
    with pytest.raises(UserError, match="Linear has no z_dim"):
        embedding_size(nn.Linear(2, 2))
