"""Checkpoints in parts: they are read as whole ones, and nothing in them is executed."""

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, empty

from frame.common.errors import Damaged
from frame.optimization.sharded import _one_process
from frame.runs import checkpoints, parts
from tests.processes import files_no_larger_than


def written(folder: Path, iteration: int, large: int = 0) -> str:
    with _one_process() as mesh:
        whole = torch.arange(12.0).view(6, 2) + iteration
        part = distribute_tensor(whole, mesh, [Shard(0)])
        state = {
            "format": checkpoints.FORMAT,
            "model": {"weight": part, "buffer": torch.tensor(iteration)},
            "average": None,
            "players": {"model": {"optimizer": {"state": {0: {"exp_avg": part * 2, "step": torch.tensor(3.0)}}}}},
            "counters": {"iterations": iteration},
            "waiting": [part + 1, torch.zeros(large)],
        }
        path = folder / "last.ckpt"
        return parts.write(path, state, lambda rest: checkpoints.write(path, rest, keep=folder / "previous.ckpt"))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "checkpoints").mkdir()
    for iteration in (10, 20):
        assert written(tmp_path / "checkpoints", iteration) == ""
    yield tmp_path


def weight_of(run: Path) -> float:
    state = checkpoints.load(run)
    assert state is not None
    return float(state["model"]["weight"][0, 0])


def test_a_checkpoint_in_parts_reads_like_a_whole_one(run: Path) -> None:
    state = checkpoints.load(run)
    assert state is not None
    whole = torch.arange(12.0).view(6, 2) + 20
    assert torch.equal(state["model"]["weight"], whole) and state["model"]["buffer"] == 20
    entries = state["players"]["model"]["optimizer"]["state"][0]
    assert torch.equal(entries["exp_avg"], whole * 2) and entries["step"] == 3
    assert torch.equal(state["waiting"][0], whole + 1) and parts.KEY not in state
    assert checkpoints.newest(run) == run / "checkpoints" / "last.ckpt"


def test_parts_lie_in_files_of_a_bounded_size(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoints.load(run)
    monkeypatch.setattr(parts, "FILE_BYTES", 50)  # a tensor has 48
    assert written(run / "checkpoints", 20) == ""
    folder = run / "checkpoints" / "last-20-2"
    assert {len(safe_open(file, "pt").keys()) for file in folder.iterdir()} == {1, 2}
    torch.testing.assert_close(checkpoints.load(run), before, rtol=0, atol=0)


def test_only_parts_that_a_checkpoint_names_are_kept(run: Path) -> None:
    folder = run / "checkpoints"
    assert {entry.name for entry in folder.iterdir()} == {"last.ckpt", "previous.ckpt", "last-10", "last-20"}
    assert written(folder, 20) == ""  # of the same iteration: never in place
    assert {entry.name for entry in folder.iterdir()} == {"last.ckpt", "previous.ckpt", "last-20", "last-20-2"}
    (folder / "last-30").mkdir()  # of a save that was killed
    checkpoints.clear(run)
    assert not (folder / "last-30").exists() and weight_of(run) == 20


def test_parts_are_read_into_parts(run: Path) -> None:
    state = checkpoints.load(run, whole=False)
    assert state is not None and state["model"]["weight"] is None
    with _one_process() as mesh:
        parts.fill(state, lambda size, dtype: empty(size, dtype=dtype, device_mesh=mesh, placements=[Shard(0)]))
        weight = state["model"]["weight"]
        assert isinstance(weight, DTensor) and weight.full_tensor()[0, 0] == 20


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda file: file.unlink(),
        lambda file: shutil.rmtree(file.parent),
        lambda file: file.write_bytes(file.read_bytes()[:50]),
        lambda file: (file.parent / "shard-00009-model-00001-of-00001.safetensors").write_bytes(b""),
    ],
)
def test_damaged_parts_fall_back_to_the_checkpoint_before(
    run: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (run / "checkpoints" / "last-20").iterdir()
    damage(file)
    assert checkpoints.newest(run) == run / "checkpoints" / "previous.ckpt"
    capsys.readouterr()
    assert weight_of(run) == 10
    said = capsys.readouterr().err
    assert "last.ckpt cannot be read as a checkpoint, because of its parts" in said and "previous.ckpt" in said


class Boom:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOOM"],)


@pytest.mark.parametrize("where", ["file", "index", "places", "folder"])
def test_a_strangers_parts_execute_nothing(run: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the sha256 fit: a stranger can write them."""
    monkeypatch.setenv("BOOM", str(run / "boom"))
    folder = run / "checkpoints"
    (folder / "previous.ckpt").unlink()
    (file,) = (folder / "last-20").iterdir()
    state = torch.load(folder / "last.ckpt", weights_only=True)
    if where == "file":
        file.write_bytes(pickle.dumps(Boom()))
    if where == "index":  # where torch's own format has a pickle
        (folder / "last-20" / ".metadata").write_bytes(pickle.dumps(Boom()))
        state[parts.KEY]["files"][".metadata"] = parts._sha256(folder / "last-20" / ".metadata")
    if where == "places":
        state[parts.KEY]["places"] = {name: ["__class__"] for name in state[parts.KEY]["places"]}
    if where == "folder":
        state[parts.KEY]["folder"] = "../../elsewhere-1"
    state[parts.KEY]["files"][file.name] = parts._sha256(file)
    checkpoints.write(folder / "last.ckpt", state)
    if where == "places":  # a key of the state, and no attribute
        assert weight_or_damaged(run)
    else:
        with pytest.raises(Damaged):
            checkpoints.load(run)
    assert not (run / "boom").exists()


def weight_or_damaged(run: Path) -> bool:
    try:
        state = checkpoints.load(run)
    except Damaged:
        return True
    return state is not None and state["model"]["weight"] is None


def test_a_full_disk_leaves_the_former_checkpoint(run: Path) -> None:
    with files_no_larger_than(100):
        assert "large" in written(run / "checkpoints", 30)
    assert weight_of(run) == 20 and not (run / "checkpoints" / "last-30").exists()
    with files_no_larger_than(20_000):  # room for the parts, and not for the file that names them
        assert "large" in written(run / "checkpoints", 30, large=10_000)
    assert weight_of(run) == 20 and not (run / "checkpoints" / "last-30").exists()
