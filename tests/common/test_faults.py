"""An error is one line, with its place in the user's code if it was raised there."""

import os
import pickle
from pathlib import Path

import pytest

from frame.common import faults
from frame.common.errors import UserError
from frame.common.files import write_text
from frame.common.owned import is_own


def raised(function: object) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function()  # type: ignore[operator]
    return caught.value


def divides() -> float:
    return 1 / 0


LINES = ["def divides() -> float:", "    return 1 / 0"]


def passes_on() -> None:
    try:
        divides()
    except ZeroDivisionError as error:
        raise UserError("model cannot be built: division by zero") from error


def test_the_innermost_line_of_the_user_is_named_with_two_around() -> None:
    place = faults.place_of(raised(divides))
    assert place is not None and place.function == "divides" and Path(place.file) == Path(__file__)
    assert [line.partition("| ")[2] for line in place.excerpt] == ["", *LINES, "", ""]
    assert [line[0] for line in place.excerpt].count(">") == 1 and len(place.excerpt) == 5
    told = faults.told(raised(divides)).splitlines()
    assert told[0].startswith("ZeroDivisionError: division by zero (") and told[0].endswith("in divides)")
    assert told[-1] == "debug=trace shows the whole traceback"


def test_the_cause_of_a_users_error_is_its_place() -> None:
    told = faults.told(raised(passes_on)).splitlines()
    assert told[0].startswith("model cannot be built: division by zero (") and told[0].endswith("in divides)")

    def alone() -> None:
        raise UserError("one\nline")

    assert faults.told(raised(alone)) == "one line"


def test_an_error_of_ours_says_so_in_one_line(tmp_path: Path) -> None:
    error: BaseException | None = None
    try:
        write_text(tmp_path / "no" / "file", "x")
    except OSError as caught:
        error = caught.with_traceback(caught.__traceback__.tb_next)  # type: ignore[union-attr]  # without this test
    assert error is not None
    told = faults.told(error)
    assert "this is a fault of frame" in told and "debug=trace" in told and len(told.splitlines()) == 1
    assert "not enough memory" in faults.told(MemoryError())


def test_another_process_sends_its_place() -> None:
    try:
        divides()
    except ZeroDivisionError as error:
        sent = pickle.loads(pickle.dumps(faults.Elsewhere.of(error)))
    assert faults.told(sent).splitlines()[0].endswith("in divides)") and "Traceback" in sent.trace


def test_files_of_libraries_and_of_frame_are_not_the_users(tmp_path: Path) -> None:
    assert is_own(__file__) and is_own(str(tmp_path / "mine.py"))
    for file in (os.__file__, pytest.__file__, faults.__file__, "<frozen importlib._bootstrap>", "<string>"):
        assert not is_own(str(file))
