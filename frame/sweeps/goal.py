"""What a sweep is after, before anything is started: its first config, and the evaluation that finds its metric."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frame.common import selection
from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.settings import check_parts, check_read
from frame.sweeps.sweep_file import VARIANT, SweepFile


def first_config(described: SweepFile, overrides: Sequence[str], seeds: Sequence[int]) -> DictConfig:
    """The config of a point, so that mistakes are found before anything is started; of each variant, too.

    Raises:
        UserError: of a config; or no evaluation of it finds the metric, or one does on test, which is not allowed.
    """
    middle = {key: of.at(0.5) for key, of in described.parameters.items()}
    points = [{**middle, VARIANT: name} for name in described.variants] or [middle]
    seed = [f"seed={seeds[0]}"] if seeds else []
    configs = [compose([*described.overrides(point), *overrides, *seed]) for point in points]
    for config in configs:
        check_read(config)
        check_parts(config)
    if described.metric:
        names = [str(node.name) for node in evaluations(configs[0])]
        if not any(described.metric == name or described.metric.startswith(f"{name}/") for name in names):
            raise UserError(f"metric: {choices(described.metric, names, kind='evaluation of this experiment')}")
        if note := on_test(configs, described.metric):
            say(note)
    return configs[0]


def on_test(configs: Sequence[DictConfig], metric: str) -> str:
    """What has to be said of a metric that an evaluation on test finds; '' where none does.

    Raises:
        UserError: one does, and the config does not allow it.
    """
    for config in configs:
        for node in evaluations(config):
            if metric == node.name or metric.startswith(f"{node.name}/"):
                found = [{"split": _split(node.evaluator)}] if node.get("evaluator") else []
                if note := selection.check("metric", metric, found, bool(config.get(selection.ALLOW))):
                    return note
    return ""


def evaluations(config: DictConfig) -> list[DictConfig]:
    """The callbacks that have a name, as evaluations do; of a mapping or a list."""
    nodes = config.get("callbacks") or {}
    return [node for node in (nodes.values() if isinstance(nodes, DictConfig) else nodes) if node and "name" in node]


def _split(evaluator: DictConfig) -> str:
    """The split of an evaluation: as it is written, else as its class has it."""
    if evaluator.get("evaluate_on") is not None:
        return str(evaluator.evaluate_on)
    made: Any = instantiate(OmegaConf.to_container(evaluator, resolve=True))  # imports torch
    return str(made.evaluate_on)
