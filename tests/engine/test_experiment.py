"""A config is built, or refused, before anything is written."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.stored import resolved
from frame.data.base import Batch, Source
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.engine.experiment import build

WORDS = ["experiment=digits_VAE", "logging=csv", "callbacks=null", "doctor=null", "device.gpus=0"]


class Rows:
    """A user's rows, read one by one."""

    targets = [0, 1, 0, 1, 0, 1, 0, 12]

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8)) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.rand(*self.shape), self.targets[index]


class Masked:
    """A user's source whose masks are not booleans."""

    def __len__(self) -> int:
        return 4

    def batch(self, indices: torch.Tensor) -> Batch:
        return {"x": torch.zeros(len(indices), 1, 8, 8), "mask": torch.zeros(len(indices), 8), "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Backwards:
    """A user's loader."""

    epoch = 0

    def __init__(self, source: Source, batch_size: int, stride: int = 1) -> None:
        self.source, self.batch_size, self.stride = source, batch_size, stride
        self.position = 0

    @property
    def epochs(self) -> float:
        return self.epoch + self.position / len(self)

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Batch]:
        raise NotImplementedError

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class NoState:
    def __init__(self, source: Source) -> None: ...


def loader(*words: str, **parts: Any) -> Any:
    """The loader of the experiment with some parts replaced, as by files in a user's config folder."""
    return build({**resolved(compose([*WORDS, *words])), **parts}).loader


def node(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"tests.engine.test_experiment.{name}", **arguments}


def test_the_loader_is_chosen_by_name_and_old_keys_work() -> None:
    auto = loader("device.num_workers=3", "params.batch_size=32")
    assert isinstance(auto, Loader) and auto.num_workers == 3 and auto.batch_size == 32 and len(auto) == 41
    memory, single = loader("loader=memory"), loader("loader=per_sample", "loader.in_flight=5", "loader.num_workers=1")
    assert memory._in_memory and not single._in_memory and (single.in_flight, single.num_workers) == (5, 1)
    a, b = next(iter(auto)), next(iter(loader("loader=memory", "params.batch_size=32")))
    assert torch.equal(a["x"], b["x"])


def test_a_loader_of_one_s_own_is_named_and_given_what_it_takes() -> None:
    own = loader("params.batch_size=16", loader=node("Backwards", stride=7))
    assert isinstance(own, Backwards) and own.stride == 7 and own.batch_size == 16 and len(own.source) == 1297


def test_errors_in_a_loader() -> None:
    one_by_one = {"data": {"train": node("Rows"), "valid": node("Rows")}}
    for words, parts, why in (
        (["loader=memroy"], {}, "did you mean 'memory'"),
        (["loader.in_flight=0"], {}, "loader.in_flight=0 must be a whole number of at least 1"),
        (["+loader.in_fligth=2"], {}, "in_flight"),
        ([], {"loader": node("NoState")}, "NoState lacks epoch, epochs, __len__, __iter__"),
        (["loader=memory"], one_by_one, "these data do not lie in memory: use loader=per_sample"),
    ):
        with pytest.raises(UserError, match=why) as caught:
            loader(*words, **parts)
        assert "\n" not in str(caught.value)


def test_a_bad_label_beyond_the_first_rows_is_found_before_there_is_a_folder() -> None:
    words = ["experiment=digits_VIB", "architectures.predictor.n_classes=10", "logging=csv", "callbacks=null"]
    plain = {**resolved(compose(words)), "data": {"train": node("Rows"), "valid": node("Rows")}}
    with pytest.raises(UserError, match="Rows, row 7: 'y' is 12, and 10 classes have 0 to 9"):
        build(plain)


def test_nested_batches_pass_the_dry_run_with_a_truncation_and_without() -> None:
    """A model that needs no unlabelled rows ignores them."""
    digits = {"_target_": "frame.data.digits.Digits"}
    some = {"_target_": "frame.data.take.Take", "data": digits, "rows": 40, "splits": ["train"]}
    rest = {"_target_": "frame.data.take.Take", "data": digits, "skip": 40, "splits": ["train"]}
    zipped = {"_target_": "frame.data.zip.Zip", "data": some, "beside": {"unlabelled": rest}, "batch_size": 50}
    for more, sizes in (([], (40, 50)), (["data_rows=20"], (20, 20))):
        batch = next(iter(loader(*more, data=zipped)))
        assert (len(batch["x"]), len(batch["unlabelled"]["x"])) == sizes


def test_a_mask_that_does_not_belong_to_x_is_refused() -> None:
    with pytest.raises(UserError, match="'mask' is float32: give truth values"):
        loader(data={"train": node("Masked")})
    with pytest.raises(UserError, match=r"'mask' has the shape \[4, 3\] and 'x' \[4, 2, 5\]"):
        InMemory(torch.zeros(4, 2, 5), mask=torch.zeros(4, 3, dtype=torch.bool))
