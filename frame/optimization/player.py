"""A player: parameters that one optimizer steps together, in groups with their own options."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from frame.common.durations import Length, RunLength, Share
from frame.common.errors import UserError, choices
from frame.common.schedules import Coefficient, changes, coefficients_in
from frame.optimization.fused import step
from frame.optimization.groups import OWN, Group, Rules

OptimizerPartial = Callable[..., Optimizer]


class Player:
    """Named parameters that one optimizer steps together; options of the optimizer may be schedules.

    Args:
        parameters: with their names in the model. Those that need no gradient are left out.
        optimizer: a partial of any torch optimizer, called with the parameters or their groups.
        clip: largest norm of their gradient; None takes the optimization's.

    Raises:
        UserError: no parameter is left.
    """

    optimizer: Optimizer  # set by `group`

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], optimizer: OptimizerPartial, clip: float | None = None
    ) -> None:
        given = dict(parameters)
        self.named = {name: parameter for name, parameter in given.items() if parameter.requires_grad}
        if not self.named:
            some = f"{', '.join([*given][:3])}{' ...' if given.keys() - [*given][:3] else ''}" or "none are given"
            raise UserError(f"all parameters of an optimizer are frozen ({some}): leave some that are trained")
        self.parameters = list(self.named.values())
        self.clip = clip
        self._partial = optimizer
        self.lr_scale = 1.0
        self.groups: list[Group] = []
        self._scheduled: list[tuple[int, str, Any, float]] = []  # (index of the group, option, value, factor)
        self._frozen: list[tuple[Group, Length]] = []
        self._until: list[tuple[Group, str, float]] = []  # the counter and the count until which they are frozen

    def group(self, rules: Rules, name: str, lr_scale: float = 1.0) -> None:
        """Makes the optimizer, with a group for each rule that matches a parameter.

        Args:
            rules: of the optimization.
            name: for messages.
            lr_scale: factor of all learning rates.

        Raises:
            UserError: the optimizer refuses its options, or does not know an option of a rule.
        """
        self.groups, self.lr_scale = rules.groups(self.named), lr_scale
        for group in self.groups:
            group.lr_scale *= lr_scale
        keywords: Mapping[str, Any] = getattr(self._partial, "keywords", {})
        scheduled = {option: value for option, value in keywords.items() if changes(value)}
        made = partial(self._partial, **{option: _now(value, None) for option, value in keywords.items()})
        if len(self.groups) == 1 and not rules.owner.keys() & self.named.keys():
            self.optimizer = _made(made, self.parameters, "optimization")  # like without any rules
        else:
            torch_groups = [
                {
                    "params": [*group.parameters.values()],
                    **{option: _now(value, None) for option, value in group.options.items()},
                }
                for group in self.groups
            ]
            self.optimizer = _made(made, torch_groups, "optimization")
        for place, (group, torch_group) in enumerate(zip(self.groups, self.optimizer.param_groups, strict=True)):
            key = f"optimization.rules.{group.rule}"
            known = [option for option in self.optimizer.defaults if option != "params"]
            for option in group.options:
                if option not in known:
                    kind = f"option of {type(self.optimizer).__name__}"
                    raise UserError(f"{key}: {choices(option, [*known, *OWN], kind=kind)}")
            for option, value in {**scheduled, **group.options}.items():
                for end in (0, 1) if changes(value) else (0,):
                    where = key if option in group.options else f"optimization, {option} of {name}"
                    _made(partial(made, **{option: _now(value, None, end)}), [*group.parameters.values()], where)
                if changes(value):
                    self._scheduled.append((place, option, value, group.lr_scale if option == "lr" else 1.0))
            if group.lr_scale != 1.0:
                if "lr" not in torch_group:
                    where = key if self.lr_scale == 1.0 else "optimization.lr_batch"
                    raise UserError(f"{where}: {type(self.optimizer).__name__} has no lr that a factor could change")
                torch_group["lr"] = torch_group["lr"] * group.lr_scale
        self._frozen = [(group, group.freeze) for group in self.groups if group.freeze is not None]

    def bind(self, run: RunLength, name: str) -> None:
        """Counts the lengths of its schedules and freezes in a run.

        Raises:
            UserError: one of them is longer than the run, or its unit does not go with the run's.
        """
        for _, option, value, _ in self._scheduled:
            for one in coefficients_in(value):
                one.bind(run, f"{option} of {name}")
        self._until = []
        for group, length in self._frozen:
            key = f"optimization.rules.{group.rule}.freeze"
            counted = run.counted(length, key=key)
            run.check_fits(counted.amount, counted.counter, key=key)
            self._until.append((group, counted.counter, counted.amount))

    def unfinished(self, counters: Mapping[str, float]) -> list[str]:
        """The scheduled options whose schedules, and the rules whose freezes, are not over."""
        going = [
            option
            for _, option, value, _ in self._scheduled
            if not all(one.ended(counters) for one in coefficients_in(value) if one.changes)
        ]
        frozen = [f"rules.{group.rule}.freeze" for group, counter, amount in self._until if counters[counter] < amount]
        return [*dict.fromkeys(going + frozen)]

    def schedules(self, option: str) -> bool:
        """Whether an option of a group follows a schedule."""
        return any(scheduled == option for _, scheduled, _, _ in self._scheduled)

    @property
    def follows_the_run(self) -> bool:
        schedules = [one for _, _, value, _ in self._scheduled for one in coefficients_in(value)]
        return any(one.follows_the_run for one in schedules) or any(
            isinstance(length, Share) for _, length in self._frozen
        )

    def advance(self, counters: Mapping[str, float]) -> None:
        """Sets the scheduled options for the next step, and the parameters that are frozen in it."""
        for place, option, value, factor in self._scheduled:
            now = _now(value, counters)
            now, group = now * factor if option == "lr" else now, self.optimizer.param_groups[place]
            if isinstance(group[option], Tensor):  # its address is in use
                group[option].fill_(now)
            else:
                group[option] = now
        for frozen, counter, amount in self._until:
            for parameter in frozen.parameters.values():
                parameter.requires_grad_(counters[counter] >= amount)

    def decided(self, gradients: bool) -> Hashable:
        """What the host decides about its updates: which parameters are frozen, and the options that are no tensors.

        Args:
            gradients: whether some of its parameters may have gradients before a step, and others none.
        """
        trained = tuple(p.requires_grad for p in self.parameters) if self._until else ()
        there = tuple(p.grad is not None for p in self.parameters) if gradients else ()
        options = tuple(
            tuple(value) if isinstance(value, list) else value
            for group in self.optimizer.param_groups
            for option, value in group.items()
            if option != "params" and not isinstance(value, Tensor)
        )
        return trained, there, options

    def scheduled(self) -> list[set[str]]:
        """The options that follow schedules, for each group of the optimizer."""
        return [
            {option for other, option, _, _ in self._scheduled if other == place}
            for place in range(len(self.optimizer.param_groups))
        ]

    def update(self) -> None:
        """Steps with the available gradients; does nothing without any."""
        if all(parameter.grad is None for parameter in self.parameters):
            return
        if self.clip is not None:
            clip_grad_norm_(self.parameters, self.clip)
        step(self.optimizer)
        for parameter in self.parameters:  # quicker than zero_grad, which is recorded for profilers
            parameter.grad = None

    def values(self) -> list[tuple[str, str, float]]:
        """(option, rule, value) of the learning rates and the other scheduled options; rule is '' for a single group.

        For a rule with layers it is the last layer, which keeps the rate.
        """
        rules = {group.rule for group in self.groups}
        found: dict[tuple[str, str], float] = {}
        for place, (group, torch_group) in enumerate(zip(self.groups, self.optimizer.param_groups, strict=True)):
            rule = group.rule if len(rules) > 1 else ""
            if "lr" in torch_group:
                found["lr", rule] = float(torch_group["lr"])
            for other, option, value, _ in self._scheduled:
                if other != place:
                    continue
                if not isinstance(value, list | tuple):
                    found[option, rule] = float(torch_group[option])
                    continue
                for i, one in enumerate(value):
                    if changes(one):
                        found[f"{option}.{i}", rule] = float(torch_group[option][i])
        return [(option, rule, value) for (option, rule), value in found.items()]

    def described(self) -> list[dict[str, Any]]:
        """Each group's name, size, learning rate and options, as plain values."""
        found = []
        for place, (group, torch_group) in enumerate(zip(self.groups, self.optimizer.param_groups, strict=True)):
            changing = {option: value for other, option, value, _ in self._scheduled if other == place}
            factor = f" × {group.lr_scale:g}" if group.lr_scale != 1.0 else ""
            lr = f"{changing['lr']}{factor}" if "lr" in changing else torch_group.get("lr")
            options = {**group.options, **{option: value for option, value in changing.items() if option != "lr"}}
            said = {option: _said(value) for option, value in options.items() if option != "lr"}
            found.append(
                {
                    "group": group.name,
                    "tensors": len(group.parameters),
                    "parameters": sum(parameter.numel() for parameter in group.parameters.values()),
                    "lr": lr if isinstance(lr, str) or lr is None else float(lr),
                    "options": ", ".join(f"{option}: {value}" for option, value in said.items()),
                    "frozen": str(group.freeze) if group.freeze is not None else "",
                }
            )
        return found

    def state_dict(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        for group in state["param_groups"]:
            group.update({key: value.item() for key, value in group.items() if isinstance(value, Tensor)})
        return {"optimizer": state, "lr_scale": self.lr_scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        # a run may go on with another number of processes
        factor = self.lr_scale / state.get("lr_scale", self.lr_scale)
        for group in self.optimizer.param_groups if factor != 1.0 else ():
            group["lr"] = group["lr"] * factor


def _now(value: Any, counters: Mapping[str, float] | None, end: int = 0) -> Any:
    """The value of an option for an optimizer; without counters, the lowest (0) or highest (1) value of a schedule."""
    if isinstance(value, list | tuple):
        return type(value)(_now(one, counters, end) for one in value)
    if not isinstance(value, Coefficient):
        return value
    return value.bounds[end] if counters is None else value.now(counters)


def _made(optimizer: OptimizerPartial, parameters: Any, key: str) -> Optimizer:
    try:
        return optimizer(parameters)
    except UserError:
        raise
    except Exception as error:  # any error of an optimizer's constructor is about its arguments
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{key}: {reason[0]}") from error


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + "; ".join(map(_said, value)) + "]"
    return str(value)
