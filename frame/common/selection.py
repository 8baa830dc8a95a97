"""What nothing is chosen by: numbers that were measured on test. A record's split decides, and not its name."""

from collections.abc import Iterable, Mapping
from typing import Any

from frame.common.errors import UserError

ALLOW = "allow_test"


def on_test(record: Mapping[str, Any]) -> bool:
    """Whether it was measured on test; where a record has no split, its name tells."""
    split = str(record.get("split") or "").lower()
    return split == "test" if split else "Test" in str(record.get("name")).split("/")


def check(
    what: str,
    name: str,
    records: Iterable[Mapping[str, Any]],
    allowed: bool,
    rule: str = "nothing is chosen on test",
) -> str:
    """What has to be said of a choice by `name`: '' where none of its records is on test.

    Args:
        what: chooses, such as 'select' or 'checkpoint.best'.
        records: of that name; a 'split' in each is enough.
        allowed: whether a person has written allow_test=true.
        rule: that is broken, for the message.

    Raises:
        UserError: it would choose on test.
    """
    if not any(on_test({"name": name, **record}) for record in records):
        return ""
    if not allowed:
        raise UserError(
            f"{what}={name}: it is measured on test, and {rule}: name a measure on valid, or write {ALLOW}=true"
        )
    if what == "sort":
        return f"ordered on test: whoever takes the first of {name} has chosen on test ({ALLOW}=true)"
    return f"chosen on test: {what}={name} is measured on test ({ALLOW}=true)"
