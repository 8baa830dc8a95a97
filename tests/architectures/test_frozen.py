"""A frozen network with weights from a file, as a floor beside a model's codes."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frame.architectures.frozen import Frozen
from frame.common.errors import UserError
from frame.data.digits import Digits
from frame.engine.opening import Trust, build_evaluation
from frame.evaluation.neighbours import NeighbourEvaluation
from tests.digits import Encoder


class Output(dict[str, Any]):
    """As transformers' networks return one."""


class Wordy(nn.Module):
    """A network with an interface like that of transformers: a dict of tokens."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)

    def forward(self, x: torch.Tensor) -> Output:
        return Output(last_hidden_state=self.embed(x.flatten(1, 2)), other=3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file({f"vit.{name}": tensor for name, tensor in Wordy().state_dict().items()}, tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


def test_its_code_is_the_networks_output_with_the_weights_of_the_file(file: Path) -> None:
    torch.manual_seed(0)
    same, x = Wordy(), torch.rand(5, 1, 8, 8)
    torch.manual_seed(1)
    found = Frozen(Wordy(), str(file), prefix="vit.", field="last_hidden_state", tokens="first")
    assert torch.equal(found.encode(x).mean, same.embed(x[:, 0])[:, 0])
    assert not any(p.requires_grad for p in found.parameters()) and not found.training
    with pytest.raises(UserError, match="a floor's name has letters"):
        Frozen(Wordy(), str(file), "../up", prefix="vit.")


def test_it_stands_beside_other_floors(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere: Any = ModuleType("elsewhere")
    Wordy.__module__, elsewhere.Wordy = "elsewhere", Wordy
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    node = {
        "_target_": "frame.evaluation.neighbours.NeighbourEvaluation",
        "evaluate_on": "test",
        "floors": [
            "pixels",
            {
                "_target_": "frame.architectures.frozen.Frozen",
                "name": "vit",
                "file": str(file),
                "prefix": "vit.",
                "field": "last_hidden_state",
                "network": {"_target_": "elsewhere.Wordy"},
            },
        ],
    }
    with pytest.raises(UserError, match="elsewhere.Wordy, which is not trusted"):
        build_evaluation(node)
    evaluation = build_evaluation(node, Trust(("elsewhere",)))
    model, data = Model(), Digits()
    with torch.no_grad():
        found = evaluation.evaluate(model, data)
        declared = evaluation.declare(model, data)
    assert {"floor/pixels", "floor/vit"} == {key for key in found.scalars if key.startswith("floor/")}
    assert found.scalars.keys() <= set(declared.numbers)
    assert found.scalars["floor/pixels"].value > found.scalars["floor/vit"].value > 20


class Model(nn.Module):
    """What an evaluation needs of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(3, [8])

    def encode(self, x: torch.Tensor) -> Any:
        return self.encoder(x)


def test_two_floors_of_one_name_are_refused(file: Path) -> None:
    frozen = Frozen(Wordy(), str(file), "vit", prefix="vit.", field="last_hidden_state")
    with pytest.raises(UserError, match="two floors are called vit"):
        NeighbourEvaluation(floors=[frozen, frozen])
    with pytest.raises(UserError, match="has no name and encode"):
        NeighbourEvaluation(floors=[Wordy()])
