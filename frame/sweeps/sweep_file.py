"""A sweep file in W&B's format: the search space, the method and the command. Needs neither torch nor W&B."""

import itertools
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, at_least, choices
from frame.composition import config_files
from frame.composition.words import typed
from frame.sweeps.hyperband import Hyperband
from frame.sweeps.search_space import Distribution, distribution, number

KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description")
OURS = ("variants",)  # keys that W&B does not have
ELSEWHERE = (
    "project",
    "entity",
    "controller",
    "settings",
    "imageuri",
    "image_uri",
    "job",
    "launch",
)  # settings of W&B's server
METHODS = ("grid", "random", "bayes")
ARGUMENTS = ("args", "args_no_hyphens", "args_no_equals", "args_append_hydra", "args_override_hydra")
VARIANT = "variant"  # the parameter that `variants` makes
MOST_CELLS = 100_000
Point = dict[str, Any]  # a value for each parameter


@dataclass(frozen=True)
class SweepFile:
    """The content of a sweep file.

    Args:
        words: the words after the program at each point, besides the parameters.
        plus: '+' or '++' before each parameter, if the file's command says so.
        variants: the words for each value of the parameter 'variant', such as two methods with their settings.
        method: grid, random or bayes.
        parameters: by dotted key.
        metric: the name of its records; '' if there is none.
        maximize: whether more of the metric is better.
        target: a value at which the search ends, or None.
        run_cap: the largest number of points; None: no limit.
        early_terminate: Hyperband, or None.
        program: the file's own, `train.py` here.
    """

    words: tuple[str, ...]
    method: str
    parameters: dict[str, Distribution]
    metric: str = ""
    maximize: bool = False
    target: float | None = None
    run_cap: int | None = None
    early_terminate: Hyperband | None = None
    program: str = "train.py"
    plus: str = ""
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def points(self, seed: int = 0) -> Iterator[Point]:
        """The points of a grid, or the endless points of a random search, in order."""
        if self.method != "grid":
            yield from (self.point(number, seed) for number in itertools.count())
        for values in itertools.product(*(of.values or () for of in self.parameters.values())):
            yield dict(zip(self.parameters, values, strict=True))

    def point(self, number: int, seed: int = 0) -> Point:
        """One point of random search; it does not depend on the points before it."""
        draw = np.random.default_rng((seed, number))
        return {key: of.at(float(draw.random())) for key, of in self.parameters.items()}

    def check_size(self, n_seeds: int) -> None:
        """Raises UserError if there are too many cells for a folder. A grid is counted, not built."""
        points = math.prod(len(of.values or ()) for of in self.parameters.values()) if self.method == "grid" else 1
        points = points if self.run_cap is None else min(points, self.run_cap)
        if points * n_seeds > MOST_CELLS:
            raise UserError(
                f"a grid of {points:,} points with {n_seeds} seeds is more than {MOST_CELLS:,} runs: "
                "run_cap=... takes the first points, and method: random draws some"
            )

    def overrides(self, point: Point) -> list[str]:
        """The overrides of a point, as Hydra reads them."""
        mine = self.variants.get(str(point.get(VARIANT)), ())
        rest = {key: value for key, value in point.items() if not (key == VARIANT and self.variants)}
        return [*self.words, *mine, *(f"{self.plus}{key}={typed(value)}" for key, value in rest.items())]


def load(file: Path) -> SweepFile:
    """Reads and checks a sweep file.

    Raises:
        UserError: it does not exist, or a key is wrong; the message names the key.
    """
    if not file.is_file():
        beside = [path.name for path in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        raise UserError(f"no sweep file {file}: {choices(file.name, beside, kind='file')}")
    plain = config_files.load(file)
    try:
        return parse(plain)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def parse(plain: Mapping[str, Any]) -> SweepFile:
    """Like `load`, from the mapping in the file."""
    for key in plain:
        if key not in (*KEYS, *OURS, *ELSEWHERE):
            raise UserError(choices(str(key), (*KEYS, *OURS), kind="key"))
    method = str(plain.get("method"))
    if method not in METHODS:
        raise UserError(choices(method, METHODS, kind="method") if "method" in plain else "method is missing")
    variants = _variants(plain.get("variants") or {})
    parameters = _searched(plain, variants, method)
    metric = _metric(plain.get("metric"))
    ends = plain.get("early_terminate")
    if ends is not None and not isinstance(ends, dict):
        raise UserError(f"early_terminate: {ends}: write its keys below it, such as type: hyperband")
    if not metric.get("name") and (method == "bayes" or ends):
        needs = "method bayes" if method == "bayes" else "early_terminate"
        raise UserError(f"{needs} needs metric, with name and goal")
    program = plain.get("program") or "train.py"
    if not isinstance(program, str):
        raise UserError(f"program: {program} is not a file's name")
    words, plus = _command(plain.get("command"))
    return SweepFile(
        words=tuple(words),
        method=method,
        parameters=parameters,
        metric=str(metric.get("name") or ""),
        maximize=metric.get("goal") == "maximize",
        target=metric.get("target"),
        run_cap=_cap(plain.get("run_cap")),
        early_terminate=None if not ends else Hyperband.parse(ends),
        program=program,
        plus=plus,
        variants=variants,
    )


def _searched(
    plain: Mapping[str, Any], variants: Mapping[str, tuple[str, ...]], method: str
) -> dict[str, Distribution]:
    """The searched parameters, by dotted key; the variants come first."""
    nodes = plain.get("parameters") or {}
    if not isinstance(nodes, dict):
        raise UserError("parameters holds names, each with what it may be, such as params.beta: {values: [1, 2]}")
    if not variants and not nodes:
        raise UserError("parameters is missing, or has nothing in it")
    found = {VARIANT: distribution(VARIANT, {"values": [*variants]})} if variants else {}
    found |= dict(_parameters(nodes))
    for key, of in found.items():
        if method == "grid" and of.values is None:
            raise UserError(f"{key}: a grid needs values, not a continuous distribution; or method: random")
    return found


def _cap(cap: Any) -> int | None:
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool)):
        raise UserError(f"run_cap={cap} must be a number of runs")
    at_least(1, run_cap=cap)
    return cap


def _variants(plain: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(plain, dict) or not all(isinstance(text, str) for text in plain.values()):
        raise UserError("variants: write a name and what is typed for each, such as `vae: experiment=digits_VAE`")
    for name, text in plain.items():
        if not re.fullmatch(r"[\w.+-]+", str(name)):
            raise UserError(f"variants: '{name}' becomes a folder's name: letters, digits, '.', '_', '+' and '-' only")
        if wrong := [word for word in _split(f"variants: {name}", text) if "=" not in word]:
            raise UserError(f"variants: {name}: write key=value, not '{wrong[0]}'")
    return {str(name): tuple(shlex.split(text)) for name, text in plain.items()}


def _split(where: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{where}: {text}: {error}") from None


def _parameters(nodes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Distribution]]:
    """The parameters by dotted key; W&B nests them below further `parameters`."""
    for key, spec in nodes.items():
        name = f"{prefix}{key}"
        if not isinstance(spec, dict):
            raise UserError(f"{name}: write what it may be, such as value: {spec}")
        if "parameters" in spec:
            if not isinstance(spec["parameters"], dict) or not spec["parameters"] or len(spec) > 1:
                raise UserError(f"{name}: parameters holds names, each with what it may be, and stands alone")
            yield from _parameters(spec["parameters"], f"{name}.")
        else:
            yield name, distribution(name, spec)


def _metric(plain: Any) -> dict[str, Any]:
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise UserError(f"metric: {plain}: write its name and goal below it, such as name: ELBO/Validation")
    for key in plain:
        if key not in ("name", "goal", "target", "impute", "impute_strategy"):
            raise UserError(f"metric: {choices(str(key), ('name', 'goal', 'target'), kind='key')}")
    goal, target, name = str(plain.get("goal", "minimize")), plain.get("target"), plain.get("name")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"metric: {choices(goal, ('minimize', 'maximize'), kind='goal')}")
    if name is not None and not isinstance(name, str):
        raise UserError(f"metric: name: {name} is not a measurement's name")
    if target is not None:
        target = number("metric", "target", target)
    return {"name": name, "goal": goal, "target": target}


def _command(command: Any) -> tuple[list[str], str]:
    """The words after the program, and the prefix of each parameter.

    W&B's `${env}`, `${interpreter}` and `${program}` stand for the command that starts a run. The hyphens of `${args}`
    are dropped, because Hydra has none.
    """
    words, plus = [], ""
    if not isinstance(command or [], list) or any(isinstance(item, (dict, list)) for item in command or []):
        raise UserError("command: write a list of words, such as - ${program}")
    for item in command or []:
        text = re.sub(r"\$\{envvar:(\w+)\}", lambda match: os.environ.get(match[1], match[1]), str(item))
        if text in ("${env}", "${interpreter}", "${program}"):
            continue
        macro = re.fullmatch(r"\$\{(args\w*)\}", text)
        if macro is None:
            words += [text] if "=" in text else _split("command", text)
        elif macro[1] not in ARGUMENTS:
            raise UserError(f"command: {choices(macro[1], ARGUMENTS, kind='macro')}")
        else:
            plus = {"args_append_hydra": "+", "args_override_hydra": "++"}.get(macro[1], "")
    return words, plus
