"""The model card of an export: what it is, how to use it and to train it again, and every number with its protocol."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import nn

from frame.common.escaping import code, markdown
from frame.common.shell import pasted
from frame.composition.compose import PARTS
from frame.engine.opening import OpenRun
from frame.runs.exported import WEIGHTS
from frame.runs.listing import shown
from frame.runs.reading import remarks
from frame.sharing.source import packages_of

COLUMNS = ("result", "value", "±", "unit", "split", "samples", "layer", "estimator", "checkpoint", "iteration")


class Card:
    """README.md of an export.

    Args:
        run: the run.
        config: its config, for any machine.
        manifest: what export.json says.
        averaged: whether the run keeps an average of its weights, too.
        without: takes out of a text what names this machine.
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
        parts = [self.what(), self.use(), self.again(), self.numbers(), self.pictures(folder), self.files()]
        return self.without("\n".join(line for part in parts for line in part)) + "\n"

    def what(self) -> Iterator[str]:
        counters, versions = self.manifest["counters"], self.manifest["versions"]
        name = str(self.config["model"]["_target_"]).rpartition(".")[2]
        yield f"# {self.manifest['experiment']}: {name}\n"
        yield f"{_first_line(self.run.model)}\n"
        rows = [(part, f"{code(self.config[part]['_target_'])}{_arguments(self.config[part])}") for part in PARTS]
        architectures = self.config.get("architectures") or {}
        rows += [
            (_cell(key), f"{code(node['_target_'])}{_arguments(node)}")
            for key, node in architectures.items()
            if isinstance(node, dict) and "_target_" in node
        ]
        rows += [(code(f"params.{key}"), _cell(value)) for key, value in (self.config.get("params") or {}).items()]
        rows += [("seed", _cell(self.config.get("seed")))]
        yield from _table(("part", "what"), rows)
        yield f"\n**Data**: {_first_line(self.run.data_set)}\n"
        yield f"**Parameters**: {_sizes(self.run.model)}\n"
        gpus = versions.get("gpus")
        named = ", ".join(map(str, gpus)) if isinstance(gpus, list) else ""
        hardware = markdown(named or f"CPU ({versions.get('cpus', '?')} cores)")
        yield (
            f"**Training**: {counters['iterations']:,.0f} iterations, {counters['epochs']:,.1f} epochs, "
            f"{counters['samples']:,.0f} rows, {counters['seconds']:,.0f} s on {hardware}; evaluations not counted. "
            f"These are the {self.manifest['weights']} weights of the {self.manifest['checkpoint']} checkpoint.\n"
        )
        told = [name for name in ("frame", "python", "torch", "lightning") if name in versions]
        said = ", ".join(f"{name} {markdown(versions[name])}" for name in told)
        commit = f"; commit {markdown(str(versions['commit'])[:12])}" if "commit" in versions else ""
        commit += ", with changes that no commit has" if versions.get("dirty") else ""
        yield f"**Made with**: {said}{commit}.\n"

    def use(self) -> Iterator[str]:
        own = bool(self.manifest["modules"])
        installed = [p for p in packages_of({"model": self.config["model"], "data": self.config["data"]})]
        yield "## Use\n"
        yield "```python\nimport frame\n"
        if own:
            yield "# source/ came along and runs with your rights: read it first"
            yield 'run = frame.open("this folder", trust_source=True)'
        else:
            yield f'run = frame.open("this folder"{f", packages={installed}" if installed else ""})'
        yield "model = run.model  # a torch.nn.Module in eval mode"
        yield "run.results  # all numbers, as a table\n```\n"
        encoder = self.manifest["encoder"]
        if encoder is not None:
            takes, gives = " and ".join(encoder["inputs"]), " and ".join(encoder["outputs"])
            yield (
                f"`{encoder['file']}` is the encoder alone: {takes} in, {gives} out, a batch of any size. Against the "
                f"original on {encoder['compared_on']} it differs by at most {encoder['max_abs_difference']:.2g}.\n"
            )

    def again(self) -> Iterator[str]:
        yield "## Train it again\n"
        experiment = f"+experiment={self.manifest['experiment']}"
        command = pasted("frame", "train", "--config-dir", "source/config", experiment, "logging=csv")
        settings = "".join(f"{variable}=... " for variable in self.manifest["variables"])
        yield f"```bash\n{settings}{command}\n```\n"
        for variable, key in self.manifest["variables"].items():
            yield f"{code(variable)} stands for {code(key)}, which was a place on the machine of the run.\n"
        inside = [file for module, file in self.manifest["modules"].items() if module.startswith("frame.")]
        if inside:
            yield f"First copy {', '.join(f'`{file}`' for file in inside)} into a clone of frame.\n"

    def numbers(self) -> Iterator[str]:
        """The newest of each number: of these weights, and of other moments of the same run."""
        iteration = self.manifest["counters"]["iterations"]
        here: dict[Any, dict[str, Any]] = {}
        elsewhere: dict[Any, dict[str, Any]] = {}
        for record in self.run.folder.records:
            measured = record.get("weights", self.run.config.get("weights", "average")) if self.averaged else "raw"
            of_these = record["iteration"] == iteration and measured == self.manifest["weights"]
            key = tuple(record.get(k) for k in ("name", "split", "layer", "estimator", "n_samples"))
            (here if of_these else elsewhere)[key] = record
        elsewhere = {key: record for key, record in elsewhere.items() if key not in here}
        yield "## Numbers\n"
        if not here and not elsewhere:
            yield "Nothing was measured.\n"
        if here:
            yield f"Of these weights (iteration {iteration:,.0f}). `±` is a standard error over rows, not over seeds.\n"
            yield from _table(COLUMNS, [_row(record) for record in here.values()])
            yield ""
        if elsewhere:
            yield "Measured in the same run, but **not of these weights**:\n"
            yield from _table(COLUMNS, [_row(record) for record in elsewhere.values()])
            yield ""
        yield "All measurements are in `records.jsonl`, losses over time in `metrics.csv`.\n"

    def pictures(self, folder: Path) -> Iterator[str]:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.glob("images/*/*.png"))
        if found:
            yield "## Pictures\n"
        for path in found:
            yield f"![{path.split('/')[1].replace('_', ' ')}]({quote(path, safe='/=+')})\n"

    def files(self) -> Iterator[str]:
        yield "## Files\n"
        rows = [(f"`{WEIGHTS}`", "weights, and nothing of the optimizer"), ("`config.yaml`", "what is built")]
        if self.manifest["encoder"] is not None:
            rows.append((f"`{self.manifest['encoder']['file']}`", "the encoder as a graph"))
        rows += [(f"`{file}`", f"module `{module}`") for module, file in self.manifest["modules"].items()]
        rows += [("`source/config/`", "the experiment, whole"), ("`export.json`", "the sha256 of each of these")]
        yield from _table(("file", "what"), rows)


def _first_line(thing: object) -> str:
    """The beginning of its class's docstring, up to the first empty line."""
    text = inspect.getdoc(type(thing)) or type(thing).__name__
    return " ".join(text.split("\n\n")[0].split())


def _sizes(model: nn.Module) -> str:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    parts = {name: count(child) for name, child in model.named_children()}
    inner = ", ".join(f"{name} {number:,}" for name, number in parts.items() if number)
    return f"{count(model):,}" + (f" ({inner})" if inner else "")


def _arguments(node: Mapping[str, Any]) -> str:
    """Arguments that are written out; what refers to elsewhere is said there."""
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


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
