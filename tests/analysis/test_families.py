"""Short descriptions of a run's parts."""

from types import SimpleNamespace
from typing import Any

from frame.analysis.families import fact


def encoder(node: Any) -> Any:
    summary: Any = SimpleNamespace(config={"architectures": {"encoder": node}})
    return fact(summary, "encoder")


def test_an_encoder_is_its_file_class_and_widths_or_those_of_its_backbone() -> None:
    assert encoder({"_target_": "frame.architectures.base.MLPEncoder", "layers": [8, 4], "z_dim": 2}) == (
        "base.MLPEncoder [8, 4]"
    )
    backbone = {"_target_": "nets.conv.Backbone", "channels": [16, 32]}
    both = {"_target_": "frame.architectures.base.Encoder", "backbone": backbone, "head": {"_target_": "any.Head"}}
    assert encoder(both) == "conv.Backbone [16, 32]"
    assert encoder({**both, "backbone": {"_target_": "timm.create_model", "model_name": "resnet18"}}) == (
        "timm.create_model"
    )
    assert encoder(None) is None and encoder({**both, "backbone": None}) is None
