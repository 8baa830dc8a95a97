"""Series from arrays and text files: channels standardised on train, lengths that differ, what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frame.common.errors import UserError
from frame.data.series import Series

X = np.random.RandomState(0).randn(40, 12, 2) * [1, 50] + [3, 0]  # [N, T, C]


def rows(data: Series, split: str) -> Any:
    return data.split(split).batch(torch.arange(len(data.split(split))))


def ts(path: Path, lengths: list[int], label: str = "ab") -> str:
    lines = [",".join(f"{i + t}" for t in range(n)) + f":{label[i % 2]}" for i, n in enumerate(lengths)]
    path.write_text("@classLabel true a b\n@data\n" + "\n".join(lines) + "\n")
    return str(path)


def test_arrays_of_steps_and_channels_become_channels_and_steps(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X, y=np.arange(40) % 2)
    np.save(tmp_path / "nct.npy", X.transpose(0, 2, 1))
    data = Series(tmp_path / "x.npz")
    assert data.shape == (2, 12) and data.row == "series" and data.n_classes == 2
    train = rows(data, "train")["x"]
    torch.testing.assert_close(train.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std((0, 2), correction=0), torch.ones(2))
    kept = rows(Series(tmp_path / "x.npz", standardise=False, n_valid=0, n_test=0), "train")["x"]
    torch.testing.assert_close(kept, torch.from_numpy(X).float().transpose(1, 2))
    other = rows(Series(tmp_path / "nct.npy", layout="NCT", standardise=False, n_valid=0, n_test=0), "train")["x"]
    assert torch.equal(other, kept)
    np.save(tmp_path / "one.npy", X[:, :, 0])
    assert Series(tmp_path / "one.npy").shape == (1, 12)


def test_a_name_stands_for_the_two_files_of_an_archive(tmp_path: Path, capsys: Any) -> None:
    ts(tmp_path / "Beats_TRAIN.ts", [9] * 20)
    ts(tmp_path / "Beats_TEST.ts", [9] * 6)
    data = Series("Beats", data_root=tmp_path)
    assert {split: len(data.split(split)) for split in data.splits} == {"train": 18, "valid": 2, "test": 6}
    assert data.classes == ["a", "b"]
    assert "2 as 'valid' held out of 20 rows" in capsys.readouterr().err
    with pytest.raises(UserError, match="there is no Other_TRAIN.ts in .* has Beats_TEST.ts, Beats_TRAIN.ts"):
        Series("Other", data_root=tmp_path).split("train")


def test_lengths_that_differ_are_refused_or_padded_with_a_mask_or_cut(tmp_path: Path) -> None:
    lengths = [4 + i % 3 for i in range(30)]
    file = ts(tmp_path / "x.ts", lengths)
    with pytest.raises(UserError, match="lengths differ, from 4 to 6 steps: set data.pad=channel"):
        Series(file).split("train")
    padded = rows(Series(file, pad="mask", n_valid=0, n_test=0), "train")
    assert padded["x"].shape == (30, 1, 6) and padded["mask"].sum(1).tolist() == lengths
    beyond = padded["x"][:, 0][~padded["mask"]]
    assert len(beyond) and not beyond.any(), "zeros behind the last step"
    inside = padded["x"][:, 0][padded["mask"]]
    torch.testing.assert_close(inside.std(correction=0), torch.tensor(1.0))  # padding has no part in mean and scale
    assert "mask" not in rows(Series(file, pad="zeros"), "train")
    channel = rows(Series(file, pad="channel", n_valid=0, n_test=0), "train")
    assert "mask" not in channel and torch.equal(channel["x"][:, :-1], padded["x"])
    assert torch.equal(channel["x"][:, -1].bool(), padded["mask"])
    assert rows(Series(file, pad="cut"), "train")["x"].shape[2] == 4


def test_arrays_that_end_with_nan_are_series_of_several_lengths(tmp_path: Path) -> None:
    x = X.copy()
    x[::2, 8:] = np.nan
    np.save(tmp_path / "x.npy", x)
    found = rows(Series(tmp_path / "x.npy", pad="mask", n_valid=0, n_test=0), "train")
    assert found["mask"].sum(1).tolist() == [8, 12] * 20
    x[1, 3, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UserError, match="1 of 40 series of .* have missing values, first in row 1"):
        Series(tmp_path / "x.npy", pad="mask").split("train")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((9, 5, 1), np.inf), "infinite values, first in row 0"),
        (np.zeros(9), r"give numbers \[N, T\] or \[N, T, C\]"),
        (np.array([["a", "b"]] * 4), "give numbers"),
    ],
)
def test_arrays_that_are_no_series_are_refused(tmp_path: Path, array: Any, says: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=says):
        Series(tmp_path / "x.npy").split("train")


def test_unknown_words_are_refused() -> None:
    for wrong, says in (({"pad": "maks"}, "did you mean 'mask'"), ({"layout": "CTN"}, "There are: NCT, NTC")):
        with pytest.raises(UserError, match=says):
            Series("x.npz", **wrong)  # type: ignore[arg-type]
