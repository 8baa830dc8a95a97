"""Refuses to choose by numbers that were measured on test. The split of a record decides, not its name."""

from collections.abc import Iterable, Mapping
from typing import Any

from frame.common.errors import UserError

ALLOW = "allow_test"


def on_test(record: Mapping[str, Any]) -> bool:
    """Whether a record was measured on test. Without a split, its name decides."""
    split = str(record.get("split") or "").lower()
    return split == "test" if split else "Test" in str(record.get("name")).split("/")


def check(
    what: str,
    name: str,
    records: Iterable[Mapping[str, Any]],
    allowed: bool,
    rule: str = "nothing is chosen on test",
) -> str:
    """The warning about a choice by `name`; '' if none of its records is on test.

    Args:
        what: the option that chooses, such as 'select' or 'checkpoint.best'.
        records: those of that name; a 'split' in each is enough.
        allowed: whether allow_test=true.
        rule: the rule that this breaks, for the message.

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
        return f"ordered on test: taking the first of {name} is a choice on test ({ALLOW}=true)"
    return f"chosen on test: {what}={name} is measured on test ({ALLOW}=true)"


def check_fit(name: str, splits: Iterable[str], allowed: bool) -> str:
    """A warning if an evaluation fits or chooses something on one of these splits that is test, else an empty text.

    Raises:
        UserError: one is, and it is not allowed.
    """
    if not any(on_test({"name": name, "split": split}) for split in splits):
        return ""
    if not allowed:
        raise UserError(f"{name}: it is fitted on test: fit it on another split, or write {ALLOW}=true")
    return f"fitted on test: {name} ({ALLOW}=true)"
