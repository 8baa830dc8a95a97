"""The model card of an export: its parts, how to use it and train it again, and every number with its protocol."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import nn

from frame.analysis.tables import markdown_table
from frame.common.escaping import code, markdown
from frame.common.shell import pasted
from frame.common.templates import rendered, safe
from frame.composition.settings import PARTS
from frame.engine.opening import OpenRun
from frame.runs.exported import WEIGHTS
from frame.runs.listing import shown
from frame.runs.reading import remarks
from frame.runs.source import packages_of

TEMPLATE = Path(__file__).parent / "templates" / "README.md"
COLUMNS = ("result", "value", "±", "unit", "split", "samples", "layer", "estimator", "checkpoint", "iteration")


class Card:
    """Makes the README.md of an export.

    Args:
        run: the run.
        config: its config, for any machine.
        manifest: the content of export.json.
        averaged: whether the run also keeps an average of its weights.
        without: removes names of this machine from a text.
    """

    def __init__(
        self,
        run: OpenRun,
        config: dict[str, Any],
        manifest: dict[str, Any],
        averaged: bool,
        without: Callable[[str], str],
    ) -> None:
        self.run, self.config, self.manifest, self.averaged, self.without = run, config, manifest, averaged, without

    def text(self, folder: Path) -> str:
        manifest, versions = self.manifest, self.manifest["versions"]
        counters = manifest["counters"]
        packages = [*packages_of({"model": self.config["model"], "data": self.config["data"]})]
        text = rendered(
            TEMPLATE,
            experiment=manifest["experiment"],
            model=str(self.config["model"]["_target_"]).rpartition(".")[2],
            about_model=_first_line(self.run.model),
            parts=_table(("part", "what"), self._parts()),
            about_data=_first_line(self.run.data_set),
            sizes=_sizes(self.run.model),
            counters={
                "iterations": f"{counters['iterations']:,.0f}",
                "epochs": f"{counters['epochs']:,.1f}",
                "samples": f"{counters['samples']:,.0f}",
                "seconds": f"{counters['seconds']:,.0f}",
            },
            hardware=_hardware(versions),
            weights=manifest["weights"],
            checkpoint=manifest["checkpoint"],
            versions=[(name, versions[name]) for name in ("frame", "python", "torch", "lightning") if name in versions],
            commit=str(versions.get("commit", ""))[:12],
            dirty=versions.get("dirty"),
            own_code=bool(manifest["modules"]),
            newer=manifest["source"],
            installed=safe(str(packages)) if packages else "",
            encoder=manifest["encoder"],
            on_hub=manifest["hub"],
            command=safe(self._command()),
            variables=manifest["variables"],
            inside=[file for module, file in manifest["modules"].items() if module.startswith("frame.")],
            pictures=[*_pictures(folder)],
            files=_table(("file", "what"), self._files()),
            **self._numbers(),
        )
        return self.without(text)

    def _parts(self) -> Iterator[tuple[str, str]]:
        for part in PARTS:
            yield from _described(part, self.config[part])
        for key, node in (self.config.get("architectures") or {}).items():
            yield from _described(_cell(key), node)
        for key, value in (self.config.get("params") or {}).items():
            yield code(f"params.{key}"), _cell(value)
        yield "seed", _cell(self.config.get("seed"))

    def _command(self) -> str:
        experiment = f"+experiment={self.manifest['experiment']}"
        command = pasted("frame", "train", "--config-dir", "source/config", experiment, "logging=csv")
        return "".join(f"{variable}=... " for variable in self.manifest["variables"]) + command

    def _numbers(self) -> dict[str, str]:
        """Tables of the newest records: of these weights, and of other weights of the same run."""
        tables = zip(("here", "elsewhere"), self.measured(), strict=True)
        return {name: _table(COLUMNS, map(_row, found)) if found else "" for name, found in tables}

    def measured(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The newest records: of these weights, and of other weights of the same run."""
        iteration = self.manifest["counters"]["iterations"]
        here: dict[Any, dict[str, Any]] = {}
        elsewhere: dict[Any, dict[str, Any]] = {}
        for record in self.run.folder.records:
            measured = record.get("weights") or self.run.config.get("weights", "average") if self.averaged else "raw"
            of_these = record["iteration"] == iteration and measured == self.manifest["weights"]
            key = tuple(record.get(k) for k in ("name", "split", "layer", "estimator", "n_samples"))
            (here if of_these else elsewhere)[key] = record
        elsewhere = {key: record for key, record in elsewhere.items() if key not in here}
        return [*here.values()], [*elsewhere.values()]

    def _files(self) -> Iterator[tuple[str, str]]:
        yield f"`{WEIGHTS}`", "weights, without the optimizer's state"
        yield "`config.yaml`", "what is built"
        if self.manifest["encoder"] is not None:
            yield f"`{self.manifest['encoder']['file']}`", "the encoder as a graph"
        for module, file in self.manifest["modules"].items():
            yield f"`{file}`", f"module `{module}`"
        yield "`source/config/`", "the complete experiment"
        yield "`export.json`", "the sha256 of each of these"


def _described(name: str, node: Any) -> Iterator[tuple[str, str]]:
    """A line for a node that names its class; of a mapping of splits, one for each."""
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield name, f"{code(node['_target_'])}{_arguments(node)}"
    else:
        for split, one in node.items():
            yield from _described(f"{name}.{_cell(split)}", one)


def _hardware(versions: Mapping[str, Any]) -> str:
    gpus = versions.get("gpus")
    named = ", ".join(map(str, gpus)) if isinstance(gpus, list) else ""
    return named or f"CPU ({versions.get('cpus', '?')} cores)"


def _pictures(folder: Path) -> Iterator[tuple[str, str]]:
    """Titles, and paths quoted for links."""
    for path in sorted(path.relative_to(folder).as_posix() for path in folder.glob("images/*/*.png")):
        yield path.split("/")[1].replace("_", " "), safe(quote(path, safe="/=+"))


def _first_line(thing: object) -> str:
    """The first paragraph of its class's docstring."""
    text = inspect.getdoc(type(thing)) or type(thing).__name__
    return " ".join(text.split("\n\n")[0].split())


def _sizes(model: nn.Module) -> str:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    parts = {name: count(child) for name, child in model.named_children()}
    inner = ", ".join(f"{name} {number:,}" for name, number in parts.items() if number)
    return f"{count(model):,}" + (f" ({inner})" if inner else "")


def _arguments(node: Mapping[str, Any]) -> str:
    """The arguments that are written out. References are left out, because they are listed elsewhere."""
    told = []
    for key, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            told.append(f", {_cell(key)} ({code(value['_target_'])}{_arguments(value)})")
        elif not (str(key).startswith("_") or value is None or isinstance(value, dict) or "${" in str(value)):
            told.append(f", {_cell(key)} {_cell(value)}")
    return "".join(told)


def _row(record: Mapping[str, Any]) -> Sequence[str]:
    error = record.get("standard_error")
    record = {**record, "estimator": f"{record['estimator']}{remarks(record)}"}
    return [
        _cell(record["name"]),
        shown(float(record["value"])) if isinstance(record["value"], int | float) else "-",
        "-" if error is None or error != error else f"{error:.2g}",
        *(_cell(record.get(key) or "-") for key in ("unit", "split", "n_samples", "layer", "estimator", "checkpoint")),
        f"{record['iteration']:,.0f}",
    ]


def _cell(value: Any) -> str:
    return markdown(value if isinstance(value, str) else json.dumps(value, default=str))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    """A table of cells that are escaped already."""
    return safe(markdown_table(columns, *rows))
