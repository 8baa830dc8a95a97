"""Coloured MNIST: environments, wrong labels and colours, on pictures whose digits are known."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.CMNIST import CMNIST
from frame.data.MNIST import MNIST
from frame.data.sizes import sizes_of

ROOT = os.environ.get("DATA_ROOT")


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 and 5,000 rows, all of whose even pixels tell the digit, and no odd one does."""

    def read(self: MNIST, train: bool) -> tuple[Tensor, Tensor]:
        y = torch.arange(20_000 if train else 5_000) % 10
        x = torch.full((len(y), 1, 28, 28), 255, dtype=torch.uint8)
        x[:, :, ::2, ::2] = (100 + y).to(torch.uint8).view(-1, 1, 1, 1)
        return x, y

    monkeypatch.setattr(MNIST, "n_train", 20_000)
    monkeypatch.setattr(MNIST, "read", read)


def read(data: CMNIST, split: str) -> dict[str, Tensor]:
    """The digit, the colour (0 is the first channel), the label and the environment of each row."""
    source = data.split(split)
    rows = source.batch(torch.arange(len(source)))
    x = rows["x"]
    assert x.dtype == torch.uint8 and x.shape[1:] == (2, 14, 14)
    seen = x.amax((2, 3))  # [N, 2]
    assert torch.equal(seen, x.amin((2, 3))) and bool(((seen > 0).sum(1) == 1).all())  # one channel has the picture
    return {"digit": seen.amax(1).long() - 100, "colour": seen.argmax(1), "y": rows["y"], "env": rows["env"]}


def share(truth: Tensor) -> float:
    return truth.float().mean().item()


def test_colours_agree_with_noisy_labels_as_often_as_the_environment_says() -> None:
    data = CMNIST("", n_valid=4000)
    train, valid, test = (read(data, split) for split in data.splits)
    assert train["env"].bincount().tolist() == [8000, 8000]
    assert valid["env"].bincount().tolist() == [2000, 2000] and test["env"].bincount().tolist() == [0, 0, 5000]
    for rows in (train, valid, test):
        assert share(rows["y"] == (rows["digit"] < 5)) == pytest.approx(0.75, abs=0.02)
    for rows, agreement in ((train, (0.8, 0.9)), (valid, (0.8, 0.9)), (test, (None, None, 0.1))):
        for env, expected in enumerate(agreement):
            here = rows["env"] == env
            if expected is not None:
                agrees = (rows["colour"] == rows["y"])[here]
                assert share(agrees) == pytest.approx(expected, abs=0.025)
                # a wrong label has the colour of a right one: the colour depends on the label alone
                wrong = (rows["y"] != (rows["digit"] < 5))[here]
                assert share(agrees[wrong]) == pytest.approx(expected, abs=0.04)
    # every row of MNIST's is there once
    assert torch.equal(train["digit"].bincount(), torch.full((10,), 1600))


def test_the_paper_s_test_environment_is_made_of_the_same_rows_as_valid() -> None:
    usual, paper = CMNIST("", n_valid=4000), CMNIST("", n_valid=4000, valid="test")
    for split in ("train", "test"):
        assert torch.equal(usual.split(split).x, paper.split(split).x)  # type: ignore[attr-defined]
    valid = read(paper, "valid")
    assert torch.equal(valid["digit"], read(usual, "valid")["digit"]) and valid["env"].unique().tolist() == [2]
    assert share(valid["colour"] == valid["y"]) == pytest.approx(0.1, abs=0.02)


def test_a_draw_decides_order_labels_and_colours() -> None:
    one, same, other = (read(CMNIST("", draw=draw), "train") for draw in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert all(not torch.equal(one[key], other[key]) for key in ("digit", "y", "colour"))
    first, second = read(CMNIST("", draw=1), "train"), read(CMNIST("", draw=1), "valid")
    n = len(second["y"])
    wrong = [(rows["y"] != (rows["digit"] < 5))[:n] for rows in (first, second)]
    assert not torch.equal(*wrong)


def test_without_colours_both_channels_hold_the_picture() -> None:
    source = CMNIST("", grayscale=True).split("train")
    x = source.batch(torch.arange(9))["x"]
    assert torch.equal(x[:, 0], x[:, 1]) and x.min() >= 100


def test_environments_are_a_size_of_the_data() -> None:
    data = CMNIST("", agreement=[0.7, 0.8, 0.9])
    assert sizes_of(data)["n_envs"] == 3 and read(data, "train")["env"].unique().tolist() == [0, 1, 2]
    assert read(data, "test")["env"].unique().tolist() == [3]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"valid": "tset"}, "no valid 'tset': did you mean 'test'"),
        ({"agreement": []}, "give a share for each training environment"),
        ({"agreement": [0.8, 80]}, r"agreement\[1\]=80: it is a share"),
        ({"test_agreement": -0.1}, "test_agreement=-0.1: it is a share"),
        ({"label_noise": 25}, "label_noise=25: it is a share"),
        ({"draw": -1}, "draw=-1"),
        ({"n_valid": 10**6}, "n_valid"),
    ],
)
def test_wrong_arguments_are_one_line(wrong: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        CMNIST(tmp_path, **wrong)
    assert "\n" not in str(caught.value)
