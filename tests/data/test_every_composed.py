"""Every composed source keeps the properties of its parts. They are found by folder, so new ones are tested too."""

import inspect
import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import frame.data
from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source, check_batch, described, is_resident, streams, whole_batch
from frame.data.composed import Composed, Wrapped
from frame.data.concat import Concat, ConcatRows
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.loader import Loader
from frame.data.map import Keep, Map, MappedRows
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample, as_data_set
from frame.data.take import Take, TakenRows
from frame.data.views import AddViews, Views
from frame.data.zip import Zip, ZippedRows


def classes(base: type) -> list[type]:
    """The subclasses that frame/data/ defines."""
    found = []
    for file in sorted(Path(frame.data.__path__[0]).glob("*.py")):
        module = import_module(f"frame.data.{file.stem}")
        found += [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    return [c for c in found if issubclass(c, base) and c is not base]


class Blur(nn.Module):
    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x + torch.rand(x.shape, generator=generator, device=x.device)


SOURCES: dict[type, list[Callable[[Source], Composed]]] = {
    TakenRows: [
        lambda s: TakenRows(s, 17),
        lambda s: TakenRows(s, [5, 3, 21, 8, 0, 9, 13]),
        lambda s: TakenRows(s, 9, 4),
    ],
    MappedRows: [lambda s: MappedRows(s, AddViews((Blur(),), 2)), lambda s: MappedRows(s, Keep(["x", "y"]))],
    ConcatRows: [lambda s: ConcatRows(s, s), lambda s: ConcatRows(TakenRows(s, 3), s)],
    ZippedRows: [
        lambda s: ZippedRows(s, {"other": TakenRows(s, 5)}, {"other": 3}),
        lambda s: ZippedRows(TakenRows(s, 4), {"other": s, "third": TakenRows(s, 11)}, {"other": 6}, "third"),
        lambda s: ZippedRows(ZippedRows(s, {"a": s}), {"b": ZippedRows(TakenRows(s, 7), {"c": s})}),
    ],
}
SETS: dict[type, Callable[[Any], Wrapped]] = {
    Take: lambda d: Take(d, 9),
    Map: lambda d: Map(d, Keep(["x", "y"])),
    Concat: lambda d: Concat([d, d]),
    Zip: lambda d: Zip(d, {"other": d}),
    Views: lambda d: Views(d, {"blur": Blur()}, 2),
    FewLabels: lambda d: FewLabels(d, 1),
}
CASES = [pytest.param(make, id=f"{c.__name__}-{i}") for c, makes in SOURCES.items() for i, make in enumerate(makes)]
# one inside another
CASES += [
    pytest.param(lambda s, a=a, b=b: SOURCES[a][0](SOURCES[b][0](s)), id=f"{a.__name__}({b.__name__})")
    for a in SOURCES
    for b in SOURCES
    if b is not ZippedRows or a not in (ConcatRows, ZippedRows)  # refused; tested above with other names
]


class Noisy(Dataset):
    """Rows whose items draw from all three random states."""

    targets = [i % 3 for i in range(22)]

    def __len__(self) -> int:
        return 22

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item(), i]), i % 3


def in_memory() -> InMemory:
    x = torch.arange(22 * 6).view(22, 1, 2, 3).remainder(256).to(torch.uint8)
    return InMemory(x, torch.arange(22) % 3, binarize="dynamic", mask=torch.arange(66).view(22, 3) % 2 == 0)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b)


def leaves(batch: Batch) -> list[Batch]:
    """The batch and all batches nested in it."""
    return [batch, *(leaf for part in batch.values() if isinstance(part, dict) for leaf in leaves(part))]


def test_all_are_tested() -> None:
    assert set(classes(Composed)) == set(SOURCES), "add the new source to SOURCES"
    assert set(classes(Wrapped)) == set(SETS), "add the new data set to SETS"


@pytest.mark.parametrize("make", CASES)
def test_it_is_in_memory_if_all_its_parts_are(make: Callable[[Source], Composed]) -> None:
    source = make(in_memory())
    assert is_resident(source) and not is_resident(make(PerSample(Noisy())))
    there = source.to(torch.device("cpu"))
    assert type(there) is type(source) and len(there) == len(source)
    assert equal(whole_batch(there, torch.arange(4)), whole_batch(source, torch.arange(4)))
    meta = source.to(torch.device("meta"))
    assert source.resident and equal(whole_batch(source, torch.arange(4)), whole_batch(there, torch.arange(4)))
    assert all(tensor.device.type == "meta" for tensor in stored(meta))


def stored(source: Any) -> list[Tensor]:
    """The tensors of the rows in memory below a source."""
    if isinstance(source, Composed):
        return [tensor for inner in source.sources for tensor in stored(inner)]
    return [source.x, source.y, *source.columns.values()]


@pytest.mark.parametrize("make", CASES)
def test_rows_read_one_by_one_draw_the_noise_of_their_epoch(make: Callable[[Source], Composed]) -> None:
    """debug=fast and the dry run once drew the noise of epoch 0 in every epoch."""
    source, rows = make(PerSample(Noisy())), torch.arange(4)

    def noise(seed: int, epoch: int) -> list[Tensor]:
        return [leaf["x"][:, :3] for leaf in leaves(whole_batch(source.at(seed, epoch), rows))]

    assert all(map(torch.equal, noise(1, 2), noise(1, 2)))
    for other in (noise(1, 3), noise(2, 2)):
        assert all(bool((a != b).all()) for a, b in zip(noise(1, 2), other, strict=True))


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("inner", [in_memory, lambda: PerSample(Noisy())], ids=["memory", "per_sample"])
def test_every_position_resumes_with_the_same_bits(inner: Any, make: Callable[[Source], Composed]) -> None:
    def loader() -> Loader:
        return Loader(make(inner()), 4, 3)

    whole = loader()
    batches, states = [], []
    for _ in range(3):
        for batch in whole:
            check_batch(batch, "here")
            batches.append(batch)
            states.append(whole.state_dict())
    assert len(batches) == 3 * len(whole)
    for k in range(1, len(batches), 3):
        resumed = loader()
        resumed.load_state_dict(states[k - 1])
        assert equal(next(iter(resumed)), batches[k])
        assert all(type(value) is int for value in resumed.state_dict().values())


@pytest.mark.parametrize("make", CASES)
def test_two_ranks_share_the_rows_of_every_stream(make: Callable[[Source], Composed]) -> None:
    """This holds for each stream that a loader orders; within a batch no row occurs twice."""
    ranks = [list(Loader(make(in_memory()), 2, 5, rank=rank, world=2)) for rank in range(2)]
    alone = list(Loader(make(in_memory()), 4, 5))
    assert len(ranks[0]) == len(ranks[1])
    # batch sizes named by a source are per rank: only the batch's own rows are those of one process
    for one, other, both in zip(*ranks, alone, strict=False):
        for a, b in zip(leaves(one), leaves(other), strict=True):
            rows = a["index"].tolist() + b["index"].tolist()
            assert len(set(rows)) == len(rows) and len(a["index"]) == len(b["index"])
        if len(streams(make(in_memory()))) == 1:
            assert {*one["index"].tolist(), *other["index"].tolist()} <= {*both["index"].tolist()}


@pytest.mark.parametrize("make", CASES)
def test_index_labels_and_columns_belong_to_the_rows(make: Callable[[Source], Composed]) -> None:
    source = make(in_memory())
    batch = whole_batch(source, torch.arange(len(source)))
    assert batch["index"].tolist() == list(range(len(source)))
    y = source.labels()
    assert isinstance(y, Tensor) and torch.equal(y, batch["y"])


WORKERS = [case for case in CASES if "(" not in str(case.id)]


@pytest.mark.parametrize("make", WORKERS[:1] + [WORKERS[5]] + [WORKERS[7]])
def test_workers_give_the_same_bits(make: Callable[[Source], Composed]) -> None:
    def batches(workers: int) -> list[Batch]:
        loader = Loader(make(PerSample(Noisy())), 4, 9, num_workers=workers, in_flight=3)
        return [batch for _ in range(2) for batch in loader]

    alone = batches(0)
    assert equal(batches(1), alone) and equal(batches(2), alone)


@pytest.mark.parametrize("kind", SETS, ids=lambda kind: kind.__name__)
def test_composed_data_sets_have_the_attributes_of_their_parts(kind: type) -> None:
    inner = Digits()
    data = SETS[kind](inner)
    assert data.splits == inner.splits and data.shape == (1, 8, 8) and data.n_classes == 10 and data.row == "picture"
    assert {"x", "y"} <= set(data.keys)
    kept = described(data)
    assert set(kept["splits"]) == {"train", "valid", "test"} and "rows" in kept["splits"]["train"]
    again = SETS[kind](Digits())
    again.expect(kept, "it")
    again.training()
    changed = SETS[kind](Digits("static"))
    changed.expect(kept, "it")
    with pytest.raises(UserError, match="than when it was trained"):
        changed.split("train")


@pytest.mark.parametrize("kind", SETS, ids=lambda kind: kind.__name__)
def test_a_bad_label_beyond_the_first_rows_is_found_before_training(kind: type) -> None:
    class Rows(DataSet):
        splits = ("train",)

        def load(self, split: str) -> Source:
            return InMemory(torch.zeros(9, 2), [0, 1, 0, 1, 0, 1, 0, 1, 7])

    data = SETS[kind](Rows())
    data.training()
    with pytest.raises(UserError, match="row 8 is 7, and 2 classes have 0 to 1"):
        data.limit_labels(2)


@pytest.mark.parametrize("kind", SETS, ids=lambda kind: kind.__name__)
def test_rows_of_a_user_s_data_set_keep_the_noise_of_their_epoch(kind: type) -> None:
    source = SETS[kind]({"train": Noisy(), "valid": Noisy()}).training()
    loader = Loader(source, 22, 1)
    first, second = next(iter(loader)), next(iter(loader))
    assert not set(first["x"][:, 0].tolist()) & set(second["x"][:, 0].tolist())


def test_as_data_set_takes_them_all() -> None:
    for make in SETS.values():
        data = make(Digits())
        assert as_data_set(data) is data
    with pytest.raises(UserError, match="^'MNIST' is text: give a data set, or rows$"):
        as_data_set("MNIST")
