"""A table of the user's own: CSV and Parquet files, and those inside scikit-learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frame.common.errors import UserError, choices
from frame.data.formats import broken
from frame.data.from_files import FromFiles, Rows
from frame.data.identity import digest, listed
from frame.data.splits import Splitting, names_splits

MISSING = ("mean", "drop", "refuse")
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes", "linnerud")  # inside scikit-learn
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz")
EMPTY = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None"]


class Table(FromFiles):
    """Rows of numbers [N, D]: a table's numbers, and its words as columns of 0 and 1, one for each value in 'train'.

    Numbers get mean 0 and variance 1 on 'train'. Missing ones become the mean of 'train'; a missing word is a value of
    its own. A word that 'train' lacks becomes zeros. Columns of words with too many values, of one value, and of dates
    are left out, and a line says so.

    Args:
        train, valid, test: CSV, TSV or Parquet files, or `sklearn:NAME` for one of scikit-learn's tables; None: rows of
            'train' are held out.
        label: the column to predict, or several; None: there is no 'y'.
        task: 'classes', 'numbers', 'labels' (several columns of 0 and 1), or 'auto'.
        drop: columns that are left out.
        standardise: whether numbers, those to predict included, get mean 0 and variance 1 on 'train'.
        missing: of numbers: 'mean', 'drop' (their rows are left out) or 'refuse'.
        max_categories: columns of words with more values are left out.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are columns, and
            no part of x.
        data_root, big_data_root: folders that are searched for files.

    Raises:
        UserError: see `FromFiles`; there are no numbers, a column is not there, infinite numbers, or splits whose
            columns differ.
    """

    row = "row"

    def __init__(
        self,
        train: str | Path,
        valid: str | Path | None = None,
        test: str | Path | None = None,
        label: str | Sequence[str] | None = None,
        task: str = "auto",
        drop: Sequence[str] = (),
        standardise: bool = True,
        missing: str = "mean",
        max_categories: int = 50,
        n_valid: float = 0.1,
        n_test: float = 0.1,
        seed: int = 0,
        group: str | None = None,
        split_by: str = "random",
        time: str | None = None,
        env: str | None = None,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
    ) -> None:
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        files = {"train": train, "valid": valid, "test": test}
        super().__init__(files, task, splitting, standardise, data_root, big_data_root)
        if missing not in MISSING:
            raise UserError(choices(str(missing), MISSING, kind="missing"))
        self.labels = [label] if isinstance(label, str) else list(label or ())
        self.drop = [drop] if isinstance(drop, str) else list(drop)
        self.standardise, self.missing, self.max_categories = standardise, missing, max_categories
        self.columns: list[str] = []  # of x, once it is read
        self._notes: list[str] = []

    @property
    def name(self) -> str:
        return "table"

    @property
    def label_named(self) -> str:
        return f"label '{', '.join(self.labels)}'"

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        frame = self._table(str(given))
        unnamed = [name for name in frame if str(name).startswith("Unnamed: 0")]
        frame = frame.drop(columns=unnamed)  # an index that was written with the table
        for name in [*self.labels, *self.splitting.columns, *self.drop]:
            column_of(frame, name, f"table, {given}")
        apart = {name: frame[name] for name in self.splitting.columns}
        y = label_values(frame, self.labels, "table") if self.labels else None
        x = frame.drop(columns=list({*self.labels, *apart, *self.drop}))
        for column in x.select_dtypes(exclude=["number", "bool"]):
            if names_splits(x[column]):
                raise UserError(
                    f"table, {given}: the column {column!r} names splits: set data.split_by={column}, or leave it out "
                    "by data.drop"
                )
        times = {name: sortable(column) if name == self.splitting.time else column for name, column in apart.items()}
        rows = Rows(x, y, {name: column.to_numpy() for name, column in times.items()}, self._names(str(given)))
        return {split: self._without_missing(rows, split)}

    def _table(self, given: str) -> pd.DataFrame:
        if given.startswith("sklearn:"):
            return _bundled(given.removeprefix("sklearn:"))
        path = self.place(given)
        if path.is_dir() or not path.name.lower().endswith(SUFFIXES):
            raise UserError(f"table: {path} is no table: give one of {', '.join(SUFFIXES)}")
        return read_table(path)

    def _names(self, given: str) -> list[str] | None:
        return self.labels if len(self.labels) > 1 else None

    def _without_missing(self, rows: Rows, split: str) -> Rows:
        """Checks numbers, and leaves out or refuses rows with missing ones if it is told so."""
        numbers = rows.x.select_dtypes(["number", "bool"])
        values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        infinite = np.isinf(values).any(0)
        if infinite.any():
            raise UserError(
                f"table, '{split}': infinite numbers in {listed([str(n) for n in numbers.columns[infinite]])}: "
                "remove these rows, or leave the columns out by data.drop"
            )
        lacks = np.isnan(values)
        if not lacks.any():
            return rows
        named = listed([f"{name} ({n})" for name, n in zip(numbers, lacks.sum(0), strict=True) if n])
        if self.missing == "refuse":
            raise UserError(
                f"table, '{split}': missing numbers in {named}: fill them, or set data.missing=mean or drop"
            )
        what = "became the mean of train" if self.missing == "mean" else f"left out with {int(lacks.any(1).sum())} rows"
        self._notes.append(f"missing numbers of '{split}' in {named} {what}")
        return rows if self.missing == "mean" else rows.take(np.flatnonzero(~lacks.any(1)))

    def _check_alike(self, read: Any) -> None:
        super()._check_alike(read)
        train = read.get("train")
        for split, rows in read.items() if train is not None else ():
            lacks = [str(name) for name in train.x if name not in rows.x]
            more = [str(name) for name in rows.x if name not in train.x]
            if lacks or more:
                differs = [f"lacks {listed(lacks)}"] * bool(lacks) + [f"has {listed(more)} beside them"] * bool(more)
                raise UserError(
                    f"table: '{split}' {' and '.join(differs)}, compared with the columns of 'train': give the same "
                    "columns, or leave some out by data.drop"
                )

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        train: pd.DataFrame = rows["train"].x
        numbers = [name for name in train if pd.api.types.is_numeric_dtype(train[name])]
        words = [name for name in train if name not in numbers]
        dates = [name for name in words if pd.api.types.is_datetime64_any_dtype(train[name])]
        many = [name for name in words if name not in dates and train[name].nunique() > self.max_categories]
        categories = [name for name in words if name not in dates and name not in many]
        constant = [name for name in numbers + categories if train[name].nunique(dropna=False) < 2]
        numbers, categories = ([name for name in some if name not in constant] for some in (numbers, categories))
        for why, names in (
            ("of one value", constant),
            ("of dates", dates),
            (f"of over {self.max_categories} words", many),
        ):
            if names:
                self._notes.append(f"columns {why} left out: {listed([str(name) for name in names])}")
        if not numbers and not categories:
            raise UserError(
                f"table: there are no numbers and no categories to learn from{_among(self._notes)}: "
                f"the columns are {listed([str(name) for name in train])}"
            )
        self._check_words(rows, numbers)
        values = {name: sorted(map(str, train[name].fillna("missing").unique())) for name in categories}
        unknown = 0
        table = train[numbers].to_numpy(dtype=np.float64, na_value=np.nan)
        mean, scale = (
            np.nanmean(table, 0) if numbers else table.mean(0),
            np.nanstd(table, 0) if numbers else table.mean(0),
        )
        scale = np.where(scale > 0, scale, 1.0)
        for split, part in rows.items():
            found = part.x[numbers].to_numpy(dtype=np.float64, na_value=np.nan)
            found = np.where(np.isnan(found), mean, found)
            coded = [(found - mean) / scale if self.standardise else found]
            for name in categories:
                own = part.x[name].fillna("missing").astype(str).to_numpy()
                hot = own[:, None] == np.array(values[name], dtype=object)
                unknown += int((~hot.any(1)).sum()) if split != "train" else 0
                coded.append(hot.astype(np.float64))
            part.x = np.concatenate(coded, 1).astype(np.float32)
        if unknown:
            self._notes.append(f"{unknown} words that 'train' lacks became zeros")
        self.columns = [*map(str, numbers), *(f"{name}={value}" for name in categories for value in values[name])]
        self._counts = len(numbers), len(categories)
        return rows

    def _check_words(self, rows: dict[str, Rows], numbers: list[Any]) -> None:
        for split, part in rows.items():
            for name in numbers:
                if not pd.api.types.is_numeric_dtype(part.x[name]):
                    raise UserError(f"table: column '{name}' holds numbers in 'train' and words in '{split}'")

    def described(self, rows: dict[str, Rows]) -> str:
        n_numbers, n_categories = self._counts
        width = rows["train"].x.shape[1]
        named = f"{n_numbers} columns of numbers and {n_categories} of categories, {width} numbers a row"
        return "; ".join([named, *self._notes])

    def identity(self, split: str) -> dict[str, Any]:
        return super().identity(split) | {"columns": digest("\n".join(self.columns).encode())}


def column_of(frame: pd.DataFrame, name: str, where: str) -> pd.Series:
    """A column of a table.

    Raises:
        UserError: it is not there. Names those that are.
    """
    if name not in frame:
        raise UserError(f"{where}: {choices(str(name), map(str, frame), kind='column')}")
    return frame[name]


def label_values(frame: pd.DataFrame, labels: Sequence[str], where: str) -> np.ndarray:
    """The values of one column, [N], or of several, [N, K].

    Raises:
        UserError: one of several columns holds words.
    """
    if len(labels) == 1:
        return _values(frame[labels[0]])
    chosen = frame[list(labels)]
    words = [str(name) for name in chosen if not pd.api.types.is_numeric_dtype(chosen[name])]
    if words:
        raise UserError(
            f"{where}: labels {listed(words)} hold words: name one column by data.label, or several of numbers, or of "
            "0 and 1"
        )
    return chosen.to_numpy(dtype=np.float64)


def read_table(path: Path, words: str | None = None) -> pd.DataFrame:
    """A CSV, TSV or Parquet file. Separators are commas, tabs in .tsv, or semicolons if the first line has no comma.

    Args:
        path: the file.
        words: a column that is not read as numbers.

    Raises:
        UserError: it is broken or empty, or has one column.
    """
    try:
        if path.suffix.lower() == ".parquet":
            found = pd.read_parquet(path, engine="pyarrow")
            return found if words is None else found.astype({words: str})
        tabs = ".tsv" in path.name.lower()
        first = pd.read_csv(path, nrows=0, sep="\t" if tabs else ",", encoding="utf-8-sig")
        separator = "\t" if tabs else ","
        if len(first.columns) == 1 and not tabs:
            line = str(first.columns[0])
            separator = next((sign for sign in (";", "\t", "|") if sign in line), ",")
        frame = pd.read_csv(
            path,
            sep=separator,
            skipinitialspace=True,
            na_values=EMPTY,
            encoding="utf-8-sig",
            low_memory=False,
            dtype=None if words is None else {words: str},
        )
    except UnicodeDecodeError:
        raise UserError(f"{path} is not written in UTF-8: save it as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is empty") from None
    except (ValueError, OSError) as error:  # ParserError, and what pyarrow raises, are ValueErrors
        raise broken(path, str(error).splitlines()[0][:100]) from None
    return frame


def _bundled(name: str) -> pd.DataFrame:
    """A table of scikit-learn's with a column 'target', in words if it has classes."""
    from sklearn import datasets

    if name not in BUNDLED:
        raise UserError(f"table: {choices(name, BUNDLED, kind='table of scikit-learn')}")
    found = getattr(datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = found.frame.copy()
    if "target_names" in found and name != "linnerud":
        frame["target"] = np.asarray(found.target_names)[frame["target"]]
    return frame


def _values(column: pd.Series) -> np.ndarray:
    """A column as numbers or words."""
    if pd.api.types.is_bool_dtype(column) and not column.isna().any():
        return column.astype(str).to_numpy(dtype=object)
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy() if not column.isna().any() else column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.astype(object).where(~column.isna(), None).map(lambda v: v if v is None else str(v)).to_numpy()


def sortable(column: pd.Series) -> pd.Series:
    """Numbers and dates as they are; words as dates if all of them are."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    try:
        return pd.to_datetime(column, format="mixed")
    except (ValueError, TypeError):
        return column.astype(str)


def _among(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""
