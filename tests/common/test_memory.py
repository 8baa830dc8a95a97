"""Amounts of memory."""

import os

import pytest

from frame.common.errors import UserError
from frame.common.memory import bytes_of, limit, shown


def test_amounts() -> None:
    assert [bytes_of(given, "k") for given in ("8 GB", "0.5GB", "500 mb", 1000, 1e9, "12 kB")] == [
        8_000_000_000, 500_000_000, 500_000_000, 1000, 1_000_000_000, 12_000
    ]  # fmt: skip
    assert [shown(n) for n in (5, 1500, 3.2e9, 2e13)] == ["5 B", "1.5 KB", "3.2 GB", "20 TB"]
    assert bytes_of("auto", "k") == limit() // 2
    assert 0 < limit() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for wrong in ("much", "-3 GB", "8 GiBs", None, ""):
        with pytest.raises(UserError, match="device.memory_for_data=.*: give an amount such as 8 GB"):
            bytes_of(wrong, "device.memory_for_data")  # type: ignore[arg-type]
