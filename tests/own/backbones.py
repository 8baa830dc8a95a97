"""A user's backbones and self-supervised method, with outputs of all the kinds that libraries return."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, two_views
from frame.probability.mutual_information import infonce


class Map(nn.Module):
    """x [B, 1, H, W] -> a map [B, width, H / 2, W / 2]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, width, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolution(x).relu()
        return found


class Tokens(nn.Module):
    """x [B, 1, H, W] -> a class token and one for each row of the picture, [B, 1 + H, width]."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.rows, self.mix = nn.Linear(side, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.rows(x[:, 0])
        return torch.cat([self.mix(tokens).mean(1, keepdim=True), tokens], dim=1)


@dataclass
class Output:
    """Like the output objects of some libraries: a tensor, an optional one that is None, and a tuple of all layers."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] = ()


class Named(NamedTuple):
    last_hidden_state: Tensor


class ModelOutput(OrderedDict[str, Any]):
    """A mapping whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Wrapped(nn.Module):
    """A backbone whose output is an object of the named kind."""

    def __init__(self, backbone: nn.Module, kind: str) -> None:
        super().__init__()
        self.backbone, self.kind = backbone, kind

    def forward(self, x: Tensor) -> Any:
        found = self.backbone(x)
        kinds: dict[str, Any] = {
            "dataclass": Output(found, hidden_states=(found,)),
            "dict": {"last_hidden_state": found, "hidden_states": (found,)},
            "mapping": ModelOutput(last_hidden_state=found, hidden_states=(found,)),
            "named tuple": Named(found),
            "tuple": (found, found),
            "list": [found],
            "none": None,
        }
        return kinds[self.kind]


class Contrast(EncoderModel):
    """InfoNCE of the cosines of two views' projections, at a temperature of 0.5."""

    needs = ("views",)

    def __init__(self, encoder: ConditionalDistribution) -> None:
        super().__init__()
        self.encoder = encoder

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = (nn.functional.normalize(self.encoder(view).mean, dim=1) for view in two_views(batch))
        return {"loss": -infonce(z1 @ z2.T / 0.5)}
