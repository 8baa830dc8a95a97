"""Parts of a run that are objects: what a module must have, and what is told to others."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.engine.objects import Objective, Objects, objective, procedure
from frame.evaluation.base import HasFeatures, Predicts, Reconstructs
from frame.models.base import GenerativeAdversarialModel, Model


class Net(nn.Module):
    needs = ("x", "y")

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.updates = 0

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.linear(batch["x"]), batch["y"])

    def predict(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits.log_softmax(1)

    def after_update(self, iteration: int) -> None:
        self.updates = iteration


def test_a_module_with_a_loss_is_an_objective() -> None:
    net = Net()
    model = objective(net)
    batch = {"x": torch.ones(4, 2), "y": torch.zeros(4, dtype=torch.int64), "index": torch.arange(4)}
    assert type(model).__name__ == "Net" and isinstance(model, Objective) and isinstance(model, Model)
    assert torch.equal(model(batch)["loss"], net.compute_loss(batch))
    assert model.needs == ("x", "y") and model.inputs == ("x",)
    model.after_update(7)
    assert net.updates == 7
    assert isinstance(model, Predicts) and not isinstance(model, (HasFeatures, Reconstructs))
    with pytest.raises(AttributeError):
        _ = model.nothing


def test_each_run_trains_a_copy() -> None:
    objects = Objects.of(Net())
    one, other = objects.copied_model(), objects.copied_model()
    assert objects.model is not None
    with torch.no_grad():
        one.get_parameter("module.linear.weight").zero_()
    assert torch.equal(objects.model.get_parameter("module.linear.weight"), other.get_parameter("module.linear.weight"))
    assert one.get_parameter("module.linear.weight").abs().sum() == 0


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    net = Net()
    net.extra = torch.ones(2, requires_grad=True) * 2  # no leaf
    with pytest.raises(UserError, match="cannot be copied .*, and each run trains a copy"):
        Objects.of(net).copied_model()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (3, "model=3 is no torch.nn.Module (int)"),
        ({"a": 1}, "is no torch.nn.Module (dict)"),
        (lambda x: x, "is no torch.nn.Module (function)"),
        (Net, "model=Net is a class: give an instance, Net(...)"),
        (nn.Linear(1, 2), "Linear has no loss: give it compute_loss(batch)"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(model: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        objective(model)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_adversary_needs_its_own_procedure() -> None:
    model = GenerativeAdversarialModel(nn.Identity(), nn.Identity(), nn.Identity())  # type: ignore[arg-type]
    assert procedure(Objects(model)) == "adversarial_ADAM"
    assert procedure(Objects.of(Net())) == "batch_ADAM"
