"""Text files of series: channels, classes, targets, missing values, lengths."""

from pathlib import Path

import numpy as np
import pytest

from frame.common.errors import UserError
from frame.data.ts_files import read_ts

HEAD = "#a comment\n@problemName X\n@timeStamps false\n@classLabel true a b\n@data\n"


def written(path: Path, text: str) -> Path:
    (path / "x.ts").write_text(text)
    return path / "x.ts"


def test_channels_classes_and_lengths(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, HEAD + "1,2,3:4,5,?:a\n\n6,7:8:b\n"))
    first, second = found.series
    np.testing.assert_array_equal(first, [[1, 2, 3], [4, 5, np.nan]])
    np.testing.assert_array_equal(second, [[6, 7], [8, np.nan]])
    assert found.y is not None and found.y.tolist() == ["a", "b"]


def test_targets_are_numbers_and_files_need_no_labels(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, "@targetLabel true\n@data\n1,2:0.5\n3,4:-1\n"))
    assert found.y is not None and found.y.tolist() == [0.5, -1.0] and found.series[1].tolist() == [[3, 4]]
    assert read_ts(written(tmp_path, "@classLabel false\n@data\n1,2\n")).y is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has no @data"),
        ("1,2\n@data\n", "a line before @data is no @key"),
        ("@timeStamps true\n@data\n(0,1),(1,2):a\n", "pairs of time and value"),
        (HEAD, "it has no series"),
        (HEAD + "1,2:a\n1,x:b\n", "line 7: could not convert string to float: 'x'"),
        (HEAD + "1,2:a\n1,2:3,4:b\n", "line 7 has 2 channels, and the first series 1"),
        ("@targetLabel true\n@data\n1,2:a\n", "a target is no number"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_ts(written(tmp_path, text))
