"""Compiled steps: the numbers of eager ones, on the same noise, also after a resume."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from frame.architectures.base import DiagonalNormal, MLPDecoder, MLPEncoder
from frame.architectures.convolutional import ConvDecoder, ConvEncoder
from frame.common.errors import UserError
from frame.data.memory import InMemory
from frame.models.AE import AE
from frame.models.VAE import VAE
from frame.optimization.base import Optimization
from frame.optimization.batch import BatchOptimization
from frame.optimization.execution import Compiled, Eager
from tests.optimization.fitting import fit
from tests.optimization.test_every_procedure import pictures


def small() -> Optimization:
    torch.manual_seed(0)
    model = VAE(MLPEncoder((1, 2, 2), 2, [8]), MLPDecoder((1, 2, 2), 2, [8]), DiagonalNormal(2), beta=0.5)
    return BatchOptimization(model, partial(torch.optim.Adam, lr=0.01), batch_size=24, average=0.9)


def convolutions(channels_last: bool) -> BatchOptimization:
    torch.manual_seed(0)
    encoder = ConvEncoder((3, 8, 8), 10, [8, 8], pooled=True, batch_norm=True)
    model = AE(encoder, ConvDecoder((3, 8, 8), 10))
    optimization = BatchOptimization(model, partial(torch.optim.SGD, lr=0.1, momentum=0.9), 16, average=0.9)
    optimization.execution = Eager(channels_last)
    optimization.execution.lay_out(model)
    return optimization


def test_channels_last_gives_the_same_numbers_and_resumes_in_the_same_bits(tmp_path: Path) -> None:
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain, last, half, rest = (convolutions(value) for value in (False, True, True, True))
    fit(plain, InMemory(x), 6, tmp_path)
    fit(last, InMemory(x), 6, tmp_path)
    fit(half, InMemory(x), 3, tmp_path, length=6)
    fit(rest, InMemory(x), 6, tmp_path, state=half.training_state())
    layout = {"memory_format": torch.channels_last}
    assert all(p.is_contiguous(**layout) for p in (*last.model.parameters(), *rest.model.parameters()) if p.dim() == 4)
    named = zip(plain.model.state_dict().values(), last.model.state_dict().values(), strict=True)
    for mine, other in named:
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)
    for mine, other in zip(rest.model.state_dict().values(), last.model.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    maps: list[torch.Tensor] = []
    encoder: Any = last.model.encoder
    encoder.backbone.convolutions.register_forward_hook(lambda m, i, found: maps.append(found))
    last.model({"x": torch.rand(2, 3, 8, 8)})
    assert maps[0].is_contiguous(**layout)


def test_channels_last_without_convolutions_is_one_line() -> None:
    with pytest.raises(UserError, match="channels_last=true: VAE has no convolutions"):
        Eager(channels_last=True).lay_out(small().model)


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a GPU needs none
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        Compiled()


def test_the_cache_is_a_folder_that_later_runs_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    Compiled(str(tmp_path / "cache"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache")
    Compiled(str(tmp_path / "other"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache")  # what the user has set wins


def test_what_is_compiled_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that only counts: losses and augmentation go through it, once for each iteration."""
    calls: list[str] = []

    def compiled(function: Any, **how: Any) -> Any:
        assert how["dynamic"] is False and how["options"]["fallback_random"]

        def counted(*args: Any) -> Any:
            calls.append(getattr(function, "__name__", type(function).__name__))
            return function(*args)

        return counted

    monkeypatch.setattr(torch, "compile", compiled)
    eager, other = small(), small()
    other.execution = Compiled()
    fit(eager, pictures(), 5, tmp_path)
    fit(other, pictures(), 5, tmp_path)
    assert sorted(set(calls)) == ["_call_impl", "transform"] and len(calls) == 10
    ours, theirs = other.model.state_dict(), eager.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in its compiler
def test_compiled_steps_are_those_of_eager_ones_with_the_same_noise(tmp_path: Path) -> None:
    eager, compiled = small(), small()
    compiled.execution = Compiled()
    source = InMemory(torch.randint(0, 256, (64, 1, 2, 2), dtype=torch.uint8), binarize="dynamic")
    for optimization in (eager, compiled):
        fit(optimization, source, 7, tmp_path)
    for name, weight in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
