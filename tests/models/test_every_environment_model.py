"""What holds for every model that learns from several environments."""

import inspect
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from frame.architectures.base import MLPEncoder, Predictor
from frame.common.errors import UserError
from frame.models.base import EnvironmentModel
from tests.models.test_every_model import MODELS, model_class

KINDS = [name for name in MODELS if issubclass(model_class(name), EnvironmentModel)]
N_ENVS = 3


def made(name: str, n_envs: int | None = N_ENVS, **more: Any) -> EnvironmentModel:
    """The model with small networks; its coefficients are 2, and a share is 1."""
    torch.manual_seed(0)
    encoder, predictor = MLPEncoder([5], 4, [6], deterministic=True), Predictor(4, 2)
    kind = model_class(name)
    for key, argument in inspect.signature(kind).parameters.items():
        if key == "env_predictor":
            more[key] = Predictor(4, N_ENVS)
        elif argument.default is argument.empty and key not in ("encoder", "predictor", "n_envs"):
            more.setdefault(key, 1.0 if key == "agreement" else 2.0)
    return kind(encoder=encoder, predictor=predictor, n_envs=n_envs, **more)  # type: ignore[return-value]


def rows(n: int, envs: tuple[int, ...] = (0, 1, 2)) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    env = torch.tensor([*itertools.islice(itertools.cycle(envs), n)])
    return {"x": torch.rand(n, 5, generator=generator), "y": torch.arange(n) // 2 % 2, "env": env}


def gradient(model: EnvironmentModel, batch: dict[str, Tensor]) -> Tensor:
    model.zero_grad()
    model(batch)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_there_are_models() -> None:
    assert {"IRM", "VREx", "GroupDRO", "CORAL", "DANN", "IGA", "ANDMask"} <= set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_an_environment_without_rows_does_not_count(name: str) -> None:
    """Environments 0 and 2 of three give the loss of a model of two; losses and gradients stay finite."""
    batch = rows(12, (0, 2))
    assert gradient(made(name), batch).isfinite().all()
    for only in (0, 1, 2):
        alone = rows(8, (only,))
        losses = made(name)(alone)
        assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("name", KINDS)
def test_environments_may_be_renamed(name: str) -> None:
    batch = rows(12)
    renamed = {**batch, "env": (batch["env"] + 1) % 3}
    if "env_predictor" not in inspect.signature(model_class(name)).parameters:  # it knows them by name
        torch.testing.assert_close(gradient(made(name), batch), gradient(made(name), renamed))


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_number_of_environments_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="n_envs=None: .* set model.n_envs"):
        made(name, n_envs=None)
    with pytest.raises(UserError, match="n_envs=0"):
        made(name, n_envs=0)


RANK = """
import sys
import torch
from torch import distributed
from tests.models.test_every_environment_model import KINDS, gradient, made, rows
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
for name in KINDS:
    found = gradient(made(name), {key: value[rank::2].contiguous() for key, value in rows(22).items()})
    distributed.all_reduce(found)
    torch.save(found / 2, f"{folder}/{name}.{rank}")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_have_the_gradient_of_one(tmp_path: Path) -> None:
    """DDP averages gradients over ranks; each rank has every second row."""
    command = ["timeout", "100", sys.executable, "-c", RANK]
    ranks = [subprocess.Popen([*command, rank, str(tmp_path)], cwd=Path(__file__).parents[2]) for rank in "01"]
    assert [rank.wait(100) for rank in ranks] == [0, 0]
    for name in KINDS:
        expected = gradient(made(name), rows(22))
        for rank in "01":
            torch.testing.assert_close(torch.load(tmp_path / f"{name}.{rank}"), expected)
