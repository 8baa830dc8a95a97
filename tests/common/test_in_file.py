"""Large tensors in files: the same bits, in memory that the system can take back."""

import errno
import os
import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from frame.common.errors import UserError
from frame.common.in_file import LEAST, in_file
from tests.memory import own_memory


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def network() -> nn.Sequential:
    torch.manual_seed(0)
    large = nn.Linear(600, 600)
    tied = nn.Linear(600, 600)
    tied.weight = large.weight
    convolution = nn.Conv2d(256, 256, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return nn.Sequential(large, tied, convolution, nn.BatchNorm1d(3))


def test_a_network_has_the_same_bits_and_strides() -> None:
    plain = network()
    with in_file():
        ours = network()
        copy = deepcopy(ours)
    for other in (ours, copy):
        assert other.get_parameter("0.weight") is other.get_parameter("1.weight")
        for (name, value), found in zip(plain.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(value, found) and value.stride() == found.stride(), name
    with torch.no_grad():
        copy.get_parameter("0.weight").zero_()
    assert ours.get_parameter("0.weight").any()


def test_files_have_no_names_and_take_the_place_of_memory(folder: Path) -> None:
    before = own_memory()
    with in_file():
        tensors = [torch.empty(2 * LEAST).normal_() for _ in range(20)]
        views = [tensor[1:].add_(1) for tensor in tensors]
    assert own_memory() - before < sum(tensor.nbytes for tensor in tensors) / 4
    assert all(view.data_ptr() == tensor[1:].data_ptr() for view, tensor in zip(views, tensors, strict=True))
    assert not list(folder.iterdir())


def lies_in_file(tensor: torch.Tensor) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= tensor.data_ptr() < last:
            return "frame-weights-" in line
    raise AssertionError("it lies nowhere")


def test_only_large_tensors_and_only_where_it_is_wanted() -> None:
    with in_file():
        large, small, drawn = torch.empty(LEAST // 4), torch.empty(LEAST // 4 - 1), torch.randn(LEAST)
    with in_file(wanted=False):
        plain = torch.empty(LEAST)
    assert [lies_in_file(x) for x in (large, drawn, small, plain)] == [True, True, False, False]


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError) as refused, in_file():
        torch.zeros(LEAST)
    said = str(refused.value)
    assert said.startswith("weights of 4.19 MB cannot lie in a temporary file (No space left on device): set TMPDIR")


def test_a_folder_that_is_gone_is_one_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    with pytest.raises(UserError, match=r"temporary file \(No such file or directory\): set TMPDIR"), in_file():
        torch.zeros(LEAST)
