"""Columns that compare methods of several families by their parts and costs."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from frame.runs.listing import RunSummary, varying

COLUMNS = ("parameters", "encoder", "augmentation", "trials", "epochs", "seconds", "flops")


def fact(summary: RunSummary, key: str) -> Any:
    """A key of `frame list`, or 'encoder' or 'augmentation'."""
    if key == "encoder":
        return _encoder(summary.config)
    if key == "augmentation":
        return _augmentation(summary.config.get("data"))
    return summary.get(key)


def _encoder(config: Mapping[str, Any]) -> str | None:
    """'base.MLPEncoder [128]': file, class and widths of the encoder or its backbone; None without an encoder."""
    node = (config.get("architectures") or {}).get("encoder")
    node = node.get("backbone", node) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "_target_" not in node:
        return None
    widths = [key for key in node if str(key).endswith(("layers", "channels"))]
    return " ".join([".".join(str(node["_target_"]).split(".")[-2:]), *(str(node[key]) for key in widths)])


def _augmentation(data: Any) -> str | None:
    """'affine, drop (2 views)'; 'none' if the data have no augmentation."""
    if data is None:
        return None
    augmentations = data.get("augmentations")
    names = [str(name) for name in augmentations] if isinstance(augmentations, dict | list) else []
    views = f" ({data['n_views']} views)" if "n_views" in data else ""
    return (", ".join(names) or "none") + views


def known_of(summaries: Sequence[RunSummary], key: str) -> bool:
    return any(fact(summary, key) is not None for summary in summaries)


def shared(runs: Sequence[RunSummary], key: str, tried: Mapping[str | None, int]) -> Any:
    """A key's mean over runs, or their values if they are not numbers. 'trials' comes from `tried`."""
    if key == "trials":
        return tried[runs[0].experiment]
    found = [fact(summary, key) for summary in runs]
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(found):
        return fmean(numbers) if len(set(numbers)) > 1 else numbers[0]
    return ", ".join(dict.fromkeys(str(value) for value in found if value is not None))


def trials(summaries: Sequence[RunSummary]) -> dict[str | None, int]:
    """How many settings of each experiment were tried, finished or not."""
    by_experiment: dict[str | None, list[RunSummary]] = {}
    for summary in summaries:
        by_experiment.setdefault(summary.experiment, []).append(summary)
    found = {}
    for experiment, several in by_experiment.items():
        keys = [key for key in varying(several) if key != "seed"]
        found[experiment] = len({tuple(str(summary.get(key)) for key in keys) for summary in several})
    return found
