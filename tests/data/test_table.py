"""Tables: numbers standardised on train, words coded, what is missing and what does not fit told in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from frame.common.errors import UserError
from frame.data.table import Table


def written(path: Path, **columns: Any) -> str:
    frame = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return str(path)


def animals(n: int = 40) -> dict[str, Any]:
    random = np.random.RandomState(0)
    return {
        "weight": random.rand(n) * 100,
        "legs": random.randint(0, 8, n),
        "skin": random.choice(["fur", "scales"], n),
        "species": random.choice(["cat", "newt", "ant"], n),
        "farm": [f"farm {i % 8}" for i in range(n)],
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz"])
def test_numbers_are_standardised_on_train_and_words_are_coded(tmp_path: Path, suffix: str, capsys: Any) -> None:
    data = Table(written(tmp_path / f"x{suffix}", **animals()), label="species", drop=["farm"])
    train, test = data.split("train"), data.split("test")
    assert data.columns == ["weight", "legs", "skin=fur", "skin=scales"] and data.shape == (4,) and data.row == "row"
    assert data.classes == ["ant", "cat", "newt"] and [len(data.split(s)) for s in data.splits] == [32, 4, 4]
    x = train.batch(torch.arange(32))["x"]
    torch.testing.assert_close(x[:, :2].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, :2].std(0, correction=0), torch.ones(2))
    assert bool((x[:, 2:].sum(1) == 1).all()) and bool(test.batch(torch.arange(4))["x"][:, 0].abs().max() > 0)
    said = capsys.readouterr().err
    assert said.count("frame: table: ") == 1 and "2 columns of numbers and 1 of categories, 4 numbers a row" in said
    assert "label 'species': 3 classes (ant, cat, newt)" in said
    assert "4 as 'valid' and 4 as 'test' held out of 40 rows, the same share of every class, seed 0" in said


def test_given_splits_use_the_means_and_words_of_train(tmp_path: Path, capsys: Any) -> None:
    train = written(tmp_path / "train.csv", a=[0.0, 2.0, 4.0, 2.0], b=["x", "y", "x", "y"])
    test = written(tmp_path / "test.csv", b=["y", "z"], a=[2.0, 6.0])  # the columns in another order
    data = Table(train, test=test, valid=test)
    scale = np.std([0.0, 2.0, 4.0, 2.0])
    found = data.split("test").batch(torch.arange(2))
    torch.testing.assert_close(found["x"], torch.tensor([[0, 0, 1], [4 / scale, 0, 0]], dtype=torch.float32))
    assert "y" not in found and "2 words that 'train' lacks became zeros" in capsys.readouterr().err


def test_missing_values_are_told_filled_left_out_or_refused(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a;b;skin;y\n1;2;fur;0\n3;;fur;1\n5;4;;0\n7;?;fur;1\n9;6;fur;\n")
    data = Table(file, label="y", n_valid=0, n_test=0)
    x = data.split("train").batch(torch.arange(4))["x"]
    assert data.columns == ["a", "b", "skin=fur", "skin=missing"] and x[:, 1].tolist()[1] == x[:, 1].tolist()[3] == 0
    said = capsys.readouterr().err
    assert "missing numbers of 'train' in b (2) became the mean of train" in said
    assert "1 rows without a label left out" in said and data.n_classes == 2
    dropped = Table(file, label="y", missing="drop", n_valid=0, n_test=0, drop="skin")
    assert len(dropped.split("train")) == 2
    with pytest.raises(UserError, match=r"missing numbers in b \(2\): fill them, or set data.missing=mean or drop"):
        Table(file, label="y", missing="refuse").split("train")


def test_groups_stay_whole_and_are_no_part_of_x(tmp_path: Path) -> None:
    data = Table(written(tmp_path / "x.csv", **animals()), label="species", group="farm", n_valid=0.25, n_test=0.25)
    assert "farm" not in " ".join(data.columns or data.shape.__str__())
    farms = {split: set(rows.columns["farm"]) for split, rows in data._found.items()}
    assert not farms["train"] & farms["test"] and not farms["train"] & farms["valid"]
    with pytest.raises(UserError, match="'train' and 'test' share 8 groups"):
        file = str(tmp_path / "x.csv")
        Table(file, test=file, group="farm").split("train")


def test_dates_order_the_rows(tmp_path: Path) -> None:
    days = [f"2024-{month:02}-01" for month in (3, 1, 12, 11, 5, 6, 7, 8, 9, 10)]
    file = written(tmp_path / "x.csv", day=days, a=np.arange(10.0))
    data = Table(file, split_by="time", time="day", n_valid=0.1, n_test=0.2, standardise=False)
    assert data.split("test").batch(torch.arange(2))["x"].flatten().tolist() == [2, 3]
    assert data.split("valid").batch(torch.arange(1))["x"].item() == 9


def test_a_column_that_names_splits_is_no_input(tmp_path: Path) -> None:
    fold = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    file = written(tmp_path / "x.csv", a=np.arange(10.0), fold=fold)
    with pytest.raises(UserError, match="the column 'fold' names splits: set data.split_by=fold"):
        Table(file).split("train")
    data = Table(file, split_by="fold", standardise=False)
    of = {split: data.split(split).batch(torch.arange(2))["x"].flatten().tolist() for split in data.splits}
    assert of == {"train": [0, 1], "valid": [6, 7], "test": [8, 9]}
    assert Table(file, drop=["fold"]).split("train").batch(torch.arange(1))["x"].shape == (1, 1)
    with pytest.raises(UserError, match="did you mean 'fold'"):
        Table(file, split_by="fould").split("train")


def test_numbers_and_several_labels_to_predict(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    file = written(
        tmp_path / "x.csv", a=random.rand(30), price=random.rand(30) * 1e6, p=[0, 1, 1] * 10, q=[1, 1, 0] * 10
    )
    numbers = Table(file, label="price")
    y = numbers.split("train").batch(torch.arange(24))["y"]
    assert numbers.n_classes is None and y.dtype == torch.float32 and abs(y.mean().item()) < 1e-5
    several = Table(file, label=["p", "q"], drop=["price"])
    assert several.split("train").batch(torch.arange(3))["y"].dtype == torch.bool
    assert several.targets is not None and several.targets.names == ("p", "q")
    assert several.identity("test")["targets"] != several.identity("valid")["targets"]


def test_columns_that_say_nothing_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    table = {"a": np.arange(80.0), "one": ["x"] * 80, "name": [f"n{i}" for i in range(80)]}
    data = Table(written(tmp_path / "x.parquet", **table, day=pd.date_range("2024-01-01", periods=80)))
    assert data.shape == (1,)
    said = capsys.readouterr().err
    assert "columns of one value left out: one" in said and "columns of dates left out: day" in said
    assert "columns of over 50 words left out: name" in said


def test_a_row_of_test_that_is_in_train_is_told(tmp_path: Path, capsys: Any) -> None:
    table = pd.DataFrame(np.random.RandomState(0).rand(20, 5), columns=list("abcde"))
    table.to_csv(tmp_path / "train.csv", index=False)
    table[:3].to_csv(tmp_path / "test.csv", index=False)
    assert Table(tmp_path / "train.csv", test=tmp_path / "test.csv", n_valid=0).splits == ("train", "test")
    assert "3 of 3 rows of 'test' are equal to one of 'train'" in capsys.readouterr().err


def test_tables_of_scikit_learn_need_no_file() -> None:
    data = Table("sklearn:iris", label="target")
    assert data.classes == ["setosa", "versicolor", "virginica"] and data.shape == (4,)
    assert Table("sklearn:linnerud", label=["Weight", "Waist", "Pulse"]).split("train").batch(torch.arange(2))[
        "y"
    ].shape == (2, 3)
    with pytest.raises(UserError, match="did you mean 'iris'"):
        Table("sklearn:irsi").split("train")


@pytest.mark.parametrize(
    ("content", "keys", "says"),
    [
        ("name\nx1\nx2\nx3\n", {"max_categories": 2}, "there are no numbers and no categories"),
        ("a,b\n1,2\n3,4\n", {"label": "species"}, "no column 'species'. There are: a, b"),
        ("a,b\n1,2\n3,inf\n", {}, "infinite numbers in b"),
        ("a,b\n1,2\n3,4,5\n6\n", {}, "is broken"),
        ("", {}, "is empty"),
        ("a,y\n1,\n2,\n", {"label": "y"}, "no row has a label in label 'y'"),
        ("a,g\n1,u\n2,\n3,v\n", {"group": "g"}, "'g' has no value in row 1"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, content: str, keys: dict[str, Any], says: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        Table(tmp_path / "x.csv", **keys).split("train")
    assert "\n" not in str(caught.value)


def test_splits_of_other_columns_and_missing_files_are_refused(tmp_path: Path) -> None:
    train, test = (
        written(tmp_path / "train.csv", a=[1, 2], b=[1, 3]),
        written(tmp_path / "test.csv", a=[1, 2], c=[1, 3]),
    )
    with pytest.raises(UserError, match="'test' lacks b and has c beside them"):
        Table(train, test=test).split("train")
    with pytest.raises(
        UserError, match="there is no tran.csv in .*: did you mean 'train.csv'.* has test.csv, train.csv"
    ):
        Table("tran.csv", data_root=tmp_path).split("train")
    with pytest.raises(UserError, match="is no table"):
        Table(tmp_path).split("train")
    (tmp_path / "latin.csv").write_bytes("name\nJos\xe9\n".encode("latin1"))
    with pytest.raises(UserError, match="not written in UTF-8"):
        Table(tmp_path / "latin.csv").split("train")
