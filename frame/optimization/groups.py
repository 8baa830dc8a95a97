"""Rules that group parameters by their names or shapes, set options of their optimizer, and freeze them.

A frozen normalisation keeps its running statistics, too, and uses them.

In YAML, only the first rule that matches a parameter's name applies to it:

    optimization:
      rules:
        no_decay: {kind: norms_and_biases, weight_decay: 0.0}
        encoder: {match: encoder.*, lr_scale: 0.1, freeze: 2 epochs}

Parameters that no rule matches are in the group `rest`.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from frame.common.durations import Length, parse_length
from frame.common.errors import UserError, choices

REST = "rest"
KINDS = {"norms_and_biases": (0, 1), "weights": (2, 99)}  # by the number of dimensions: at least, at most
OWN = ("match", "kind", "lr_scale", "layer_decay", "freeze")  # all other keys are options of the optimizer
NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Rule:
    """One entry of `optimization.rules`.

    Args:
        name: its key, which names the group.
        match: patterns of whole parameter names: `*` and `?` match any text and any character, `[ab]` one of these, `#`
            a whole number, and everything else itself.
        kind: None for all parameters, else a key of KINDS.
        options: options of the optimizer's group.
        lr_scale: factor of the learning rate.
        layer_decay: factor of the learning rate for each layer below the last one; see `depths`.
        freeze: True for the whole run, or its length.
    """

    name: str
    match: tuple[str, ...]
    kind: str | None
    options: Mapping[str, Any]
    lr_scale: float
    layer_decay: float | None
    freeze: bool | Length

    @property
    def key(self) -> str:
        return f"optimization.rules.{self.name}"

    def matches(self, name: str, parameter: nn.Parameter) -> bool:
        least, most = KINDS[self.kind] if self.kind is not None else (0, 99)
        return least <= parameter.ndim <= most and (not self.match or self.layer(name) is not None)

    def layer(self, name: str) -> tuple[int, int] | None:
        """(index of the first matching pattern, the number at its `#`); None if none matches."""
        for place, pattern in enumerate(self.match):
            found = re.fullmatch(_expression(pattern, self.key), name)
            if found is not None:
                return place, int(found[1]) if "#" in pattern else 0
        return None

    def depths(self, names: Iterable[str]) -> dict[str, tuple[int, float]]:
        """The layer of each name, counted from 0, and its factor: layer_decay ^ (layers above it).

        The patterns are in the order of the layers, from input to output. A pattern with `#` has as many
        layers as it finds numbers, every other pattern is one. The last layer keeps the rate (BEiT, 2106.08254).

        Raises:
            UserError: there are fewer than two layers.
        """
        assert self.layer_decay is not None
        layers = {name: layer for name in names if (layer := self.layer(name)) is not None}
        order = {layer: depth for depth, layer in enumerate(sorted({*layers.values()}))}
        if len(order) < 2:
            raise UserError(
                f"{self.key}: layer_decay finds {len(order)} layers: write # for their number, as in "
                "match: encoder.blocks.#.*, or a list of patterns from the input to the output"
            )
        return {
            name: (order[layer], self.layer_decay ** (len(order) - 1 - order[layer])) for name, layer in layers.items()
        }


@dataclass
class Group:
    """Parameters with the same options, by their names in the model.

    `rule` is the name of their rule, `freeze` is how long they are frozen, `depth` is their layer under `layer_decay`.
    """

    name: str
    rule: str
    lr_scale: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    freeze: Length | None = None
    depth: int = 0
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)


class Rules:
    """The rules of an optimization, applied to the names of its model's parameters.

    Args:
        plain: rules by their names; None for none.
        model: parameters that a rule freezes for the whole run get no gradient from now on.

    Raises:
        UserError: a rule cannot be read or matches nothing, or all parameters are frozen.
    """

    def __init__(self, plain: Mapping[str, Any] | None, model: nn.Module) -> None:
        if plain is not None and not isinstance(plain, Mapping):
            raise UserError(
                f"optimization.rules={plain}: name each rule: optimization.rules={{encoder: {{match: ...}}}}"
            )
        self.rules = [read(str(name), node) for name, node in (plain or {}).items()]
        parameters = dict(model.named_parameters())
        self.owner: dict[str, Rule] = {}
        for name, parameter in parameters.items():
            for rule in self.rules:
                if rule.matches(name, parameter):
                    self.owner[name] = rule
                    break
        matched = {rule.name for rule in self.owner.values()}
        for rule in self.rules:
            if rule.name not in matched:
                raise UserError(_nothing(rule, parameters))
        self.depths = {rule.name: rule.depths(parameters) for rule in self.rules if rule.layer_decay is not None}
        self.frozen = [name for name, rule in self.owner.items() if rule.freeze is True]
        if self.rules and not any(p.requires_grad and self._starts(name) for name, p in parameters.items()):
            raise UserError("optimization.rules freeze all parameters of the model: leave some that are trained")
        for name in self.frozen:
            parameters[name].requires_grad_(False)
        # normalisations that may be frozen: their running statistics are, too
        self.with_statistics = [
            module
            for path, module in model.named_modules()
            if next(module.children(), None) is None and next(module.buffers(), None) is not None
            if (own := [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)])
            and all(name in self.owner and self.owner[name].freeze is not False for name in own)
        ]

    def _starts(self, name: str) -> bool:
        """Whether a parameter is trained from the start."""
        return name not in self.owner or self.owner[name].freeze is False

    def settle(self) -> None:
        """Sets frozen normalisations to evaluation, in which they use their running statistics and keep them."""
        for module in self.with_statistics:
            module.train(any(parameter.requires_grad for parameter in module.parameters()))

    def groups(self, parameters: Mapping[str, nn.Parameter]) -> list[Group]:
        """The parameters by rule, in the rules' order, then by layer; those without a rule come last."""
        found: dict[str, Group] = {}
        for name, parameter in parameters.items():
            group = self._group(name)
            found.setdefault(group.name, group).parameters[name] = parameter
        order = {rule.name: place for place, rule in enumerate(self.rules)}
        return sorted(found.values(), key=lambda group: (order.get(group.rule, len(order)), group.depth))

    def _group(self, name: str) -> Group:
        rule = self.owner.get(name)
        if rule is None:
            return Group(REST, REST)
        freeze = rule.freeze if not isinstance(rule.freeze, bool) else None
        if rule.layer_decay is None:
            return Group(rule.name, rule.name, rule.lr_scale, rule.options, freeze)
        depth, factor = self.depths[rule.name][name]
        return Group(f"{rule.name}.{depth}", rule.name, rule.lr_scale * factor, rule.options, freeze, depth)


def read(name: str, node: Any) -> Rule:
    """One rule from its plain values.

    Raises:
        UserError: it has neither match nor kind, a pattern cannot be read, or a value is out of range.
    """
    key = f"optimization.rules.{name}"
    if not NAME.fullmatch(name) or name == REST:
        raise UserError(f"{key}: a rule's name has letters, digits and _, and is not '{REST}'")
    if not isinstance(node, Mapping) or not ({"match", "kind"} & {k for k, v in node.items() if v is not None}):
        raise UserError(f"{key}: write match: a pattern of names such as encoder.*, or kind: norms_and_biases")
    patterns = node.get("match")
    match = [patterns] if isinstance(patterns, str) else [] if patterns is None else patterns
    if not isinstance(match, Sequence) or not all(isinstance(pattern, str) and pattern.strip() for pattern in match):
        raise UserError(f"{key}.match={patterns}: write a pattern such as encoder.*, or a list of them")
    for pattern in match:
        _expression(pattern, key)
    kind = node.get("kind")
    if kind is not None and kind not in KINDS:
        raise UserError(f"{key}.kind: {choices(str(kind), KINDS, kind='kind of parameters')}")
    scale, decay = node.get("lr_scale"), node.get("layer_decay")
    for option, value, most in (("lr_scale", scale, float("inf")), ("layer_decay", decay, 1.0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise UserError(f"{key}.{option}={value}: write a factor above 0; freeze: true trains nothing")
        if value is not None and value > most:
            raise UserError(f"{key}.{option}={value}: a factor of the rate for each layer below lies in (0, 1]")
    options = {str(option): value for option, value in node.items() if option not in OWN and value is not None}
    if "lr" in options and (scale is not None or decay is not None):
        raise UserError(f"{key} has lr and a factor of it: give one of them")
    freeze = node.get("freeze")
    frozen = freeze if isinstance(freeze, bool) else freeze is not None and parse_length(freeze, key=f"{key}.freeze")
    if frozen is True and (options or scale is not None or decay is not None):
        others = [option for option in node if option not in ("match", "kind", "freeze")]
        raise UserError(f"{key}: with freeze: true, {', '.join(others)} has no effect: leave it out")
    return Rule(name, tuple(match), kind, options, float(scale or 1.0), decay, frozen)


def _expression(pattern: str, key: str) -> str:
    """The regular expression of a pattern.

    Raises:
        UserError: it has a bracket that is not closed, or two numbers.
    """
    found = "".join(
        {"*": ".*", "?": ".", "#": r"(\d+)"}.get(part, part if part[1:] else re.escape(part))
        for part in re.findall(r"\[!?[^\[\]]+\]|.", pattern, re.DOTALL)
    ).replace("[!", "[^")
    if pattern.count("#") > 1:
        raise UserError(f"{key}: the pattern '{pattern}' has # twice: it stands for the one number of the layer")
    try:
        bad = re.search(r"\\[\[\]]", found) is not None
        re.compile(found)
    except re.error:
        bad = True
    if bad:
        raise UserError(f"{key}: the pattern '{pattern}' has a bracket that is not closed, or a bad range in one")
    return found


def _nothing(rule: Rule, parameters: Mapping[str, nn.Parameter]) -> str:
    taken = [name for name, parameter in parameters.items() if rule.matches(name, parameter)]
    if taken:
        return f"{rule.key} matches nothing that a rule before it has not taken: put it before them"
    what = ", ".join(rule.match) or str(rule.kind)
    near = [n for pattern in rule.match for n in difflib.get_close_matches(pattern, parameters, n=2, cutoff=0.4)]
    names = ", ".join([*near, *(name for name in parameters if name not in near)][:6])
    more = f" and {len(parameters) - 6} more" if len(parameters) > 6 else ""
    return f"{rule.key} matches no parameter ({what}). * stands for any text. There are: {names}{more}"
