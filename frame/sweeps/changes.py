"""Finds the differences of a run from one with today's code and config, in one line."""

from collections.abc import Sequence
from typing import Any

from omegaconf import open_dict

from frame.common.errors import Damaged, UserError
from frame.composition import evaluations
from frame.composition.compose import compose
from frame.composition.settings import SIZES, keys
from frame.composition.stored import literal, resolved, stored
from frame.runs.folder import RunFolder
from frame.sweeps.progress import named

APART = ("experiment_name", "device", "logging")  # the place and the loggers of a run do not change it
ABSENT = object()


def changed(run: RunFolder, overrides: Sequence[str], fingerprints: dict[str, str]) -> str:
    """The changes: keys of the config with both values, or the code; '' if there are none.

    '' for a damaged run too, which is named on stderr.

    Args:
        run: a finished run.
        overrides: the words that would make it today.
        fingerprints: those of today's code and config files; see `frame.runs.provenance.fingerprints`.
    """
    try:
        return _changed(run, overrides, fingerprints)
    except Damaged as damaged:
        named(str(damaged))
        return ""


def _changed(run: RunFolder, overrides: Sequence[str], fingerprints: dict[str, str]) -> str:
    version = run.code
    found = []
    same_files = version.get("configs") == fingerprints["configs"]
    if not (same_files and _told(run) == _apart(overrides)):
        found = _differences(run.plain, _composed(overrides, run.plain))
    if version.get("sources") != fingerprints["sources"]:
        found.append("the code")
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _told(run: RunFolder) -> list[str]:
    return _apart(run.overrides)


def _apart(overrides: Sequence[str]) -> list[str]:
    return [word for word in overrides if word.lstrip("+").split("=")[0].split(".")[0] not in APART]


def _composed(overrides: Sequence[str], trained: Any) -> Any:
    """The config that a run would store now, with the `sizes` of `trained`, since its data are compared elsewhere.

    `evaluations=auto` left out what is not in `trained`.
    """
    try:
        config = compose(overrides)
        if SIZES in trained:
            with open_dict(config):
                config[SIZES] = trained[SIZES]
        plain = resolved(config)
        if plain.pop(evaluations.KEY, None) == evaluations.AUTO and isinstance(plain["callbacks"], dict):
            there = trained.get("callbacks") or {}
            plain["callbacks"] = {key: node for key, node in plain["callbacks"].items() if key in there}
        return literal(stored(config, plain))
    except UserError:
        return {}


def _differences(old: Any, new: Any) -> list[str]:
    there = dict.fromkeys([*keys(old), *keys(new)])
    leaves = [key for key in there if not isinstance(_at(old, key), dict) and not isinstance(_at(new, key), dict)]
    return [
        f"{key} {_shown(_at(old, key))}, now {_shown(_at(new, key))}"
        for key in leaves
        if key.split(".")[0] not in APART and _at(old, key) != _at(new, key)
    ]


def _at(plain: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(plain, dict) or part not in plain:
            return ABSENT
        plain = plain[part]
    return plain


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else str(value)
