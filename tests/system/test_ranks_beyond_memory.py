"""Two ranks on data outside of the memory: as one process with all rows, each row once an epoch, killed and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from frame.callbacks.checkpoints import read
from tests.processes import only_run
from tests.system.test_ddp import NOISELESS, TWO, of_two_and_of_one, started_from_outside, witnesses
from tests.system.test_resume import same

N = 1797
PIXELS = (load_digits().images * 255 / 16).astype(np.uint8)  # [N, 8, 8]


def npy(place: Path) -> list[str]:
    np.save(place / "x.npy", PIXELS[:, None])
    np.save(place / "y.npy", load_digits().target)
    return ["data=npy", f"data.train={{x: {place}/x.npy, y: {place}/y.npy}}"]


def arrow(place: Path) -> list[str]:
    """In three files of several groups, so that the rows of a batch lie in all of them."""
    for i, rows in enumerate(np.array_split(np.arange(N), 3)):
        x = pa.array(PIXELS[rows].tolist(), pa.list_(pa.list_(pa.uint8())))
        found = pa.table({"x": x, "y": load_digits().target[rows]})
        with pa.ipc.new_file(place / f"train-{i}.arrow", found.schema) as stream:
            stream.write_table(found, max_chunksize=100)
    return ["data=arrow", f"data.train={place}"]


def pictures(place: Path) -> list[str]:
    for i, (pixels, y) in enumerate(zip(PIXELS, load_digits().target, strict=True)):
        (place / str(y)).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / str(y) / f"{i}.png")
    return ["data=images", f"data.root={place}", "data.size=8", "data.channels=1"]


KINDS: dict[str, Callable[[Path], list[str]]] = {"npy": npy, "arrow": arrow, "pictures": pictures}


# the kind of data, the workers of each rank, and which rank is killed
CASES = [(kind, workers) for kind in KINDS for workers in (0, 2)]
KILLED = dict(zip(CASES, ("both", "1", "1", "0", "0", "both"), strict=True))


def words(kind: str, workers: int, place: Path) -> list[str]:
    """Of data of which no rows may be kept in memory, and of the number of workers."""
    place.mkdir()
    small = ["data.n_test=0", "device.memory_for_data=1000", f"device.num_workers={workers}"]
    return [*KINDS[kind](place), *small]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "workers"), CASES)
def test_two_ranks_agree_with_one_process_of_twice_the_batch(kind: str, workers: int, tmp_path: Path) -> None:
    plain = ["optimization=batch_ADAM", "logging=csv", *NOISELESS["batch"]]
    ours, theirs = of_two_and_of_one([*plain, *words(kind, workers, tmp_path / "set")], "0.1", tmp_path)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "workers"), CASES)
def test_every_row_is_read_once_an_epoch_and_a_killed_run_ends_in_the_same_bits(
    kind: str, workers: int, tmp_path: Path
) -> None:
    plain = ["experiment=tiny", *TWO, *words(kind, workers, tmp_path / "set"), "train_for=40 iterations", "doctor=null"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    witness = f"+callbacks.witness={{_target_: toys.Witness, file: {tmp_path / 'witness'}}}"
    code, output = started_from_outside([*plain, witness], straight)
    assert code == 0, output
    hashes, _, rows = witnesses(tmp_path / "witness")
    assert hashes[0] == hashes[1]
    n = (N - round(0.1 * N)) // 2  # of each rank in an epoch
    for epoch in range(2):
        first, second = (r[epoch * n : (epoch + 1) * n] for r in rows)
        assert len(first) == len(second) == n and len({*first, *second}) == 2 * n
    killed = KILLED[kind, workers]
    only: dict[str, Any] = {} if killed == "both" else {"BREAK_RANK": killed}
    code, output = started_from_outside(plain, broken, BREAK="SIGKILL 19", **only)  # within the second epoch
    assert code == -9, output
    run = only_run(broken)
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] in (10, 15)
    code, output = started_from_outside([f"resume={run}"], broken)
    assert code == 0, output
    ours, theirs = (read(only_run(cwd) / "checkpoints" / "last.ckpt") for cwd in (broken, straight))
    for key in ("model", "players", "loader"):
        assert same(ours[key], theirs[key]), key
    assert ours["counters"]["samples"] == theirs["counters"]["samples"]
