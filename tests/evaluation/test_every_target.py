"""Every evaluation measures or draws rows with numbers or several labels, or says before training that it cannot."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch, DataSet, Source
from frame.evaluation.base import Unsuited, evaluating
from frame.evaluation.similarity import Other, opening
from tests.evaluation.test_every_declaration import NAMES, Made, evaluation, quick  # noqa: F401
from tests.models.test_every_model import composed

TARGETS = {
    "numbers": lambda rows: rows.float().sin(),
    "several numbers": lambda rows: torch.stack([rows.float().sin(), rows.float().cos()], 1),
    "labels": lambda rows: torch.stack([rows % 2 == 0, rows % 3 == 0, rows % 5 == 0], 1),
}


class Targeted(DataSet):
    """Pictures of noise with numbers or labels."""

    keys = ("x", "index", "y")

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def load(self, split: str) -> Source:
        class Rows(Made):
            def batch(self, indices: Tensor) -> Batch:
                found = super().batch(indices)
                return {"x": found["x"], "index": indices, "y": TARGETS[kind](indices)}

        kind = self.kind
        return Rows()


@cache
def model() -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = instantiate(resolved(composed("digits_VAE").model))
    return found


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_targets_of_every_kind_are_measured_or_refused(name: str, kind: str) -> None:
    data, measured = Targeted(kind), evaluation(name)
    with opening(lambda folder: Other(model(), data, "study/run", 7)), evaluating(model()):
        try:
            measured.check(model(), data)
        except Unsuited:
            return
        except UserError as error:  # of the model, such as a network that another evaluation needs
            assert "\n" not in str(error)
            return
        declared, entry = measured.declare(model(), data), measured.evaluate(model(), data)
    entry.check()
    assert declared.names("A") == entry.names("A")
