"""Checks a sweep's goal before anything is started: its first config, and the evaluation that measures its metric."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frame.common import selection
from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.settings import check_parts, check_read
from frame.composition.stored import resolved
from frame.sweeps.sweep_file import VARIANT, SweepFile


def first_config(described: SweepFile, overrides: Sequence[str], seeds: Sequence[int]) -> DictConfig:
    """The config of a point of each variant, so that errors are found before anything is started.

    Raises:
        UserError: a config is wrong, no evaluation measures the metric, or one measures it on test without permission.
    """
    middle = {key: of.at(0.5) for key, of in described.parameters.items()}
    points = [{**middle, VARIANT: name} for name in described.variants] or [middle]
    seed = [f"seed={seeds[0]}"] if seeds else []
    configs = [compose([*described.overrides(point), *overrides, *seed]) for point in points]
    for config in configs:
        check_read(config)
        check_parts(config)
    if described.metric:
        check_metric(configs[0], described.metric)
        if note := on_test(configs, described.metric):
            say(note)
    return configs[0]


def check_metric(config: DictConfig, metric: str) -> None:
    """Raises UserError if no evaluation of the config finds a number of this name."""
    names = [str(node.name) for node in evaluations(config)]
    finding = [node for node in evaluations(config) if _begins(metric, node)]
    if not finding:
        raise UserError(f"metric: {choices(metric, names, kind='evaluation of this experiment')}")
    from frame.engine.experiment import build_data  # imported here because they import torch
    from frame.evaluation.base import Evaluation, evaluating, full_name

    try:
        data = build_data(config)
        model = instantiate(resolved(config)["model"], "model")
    except UserError:
        return  # the data may be only on the machines of the cells, and each cell makes the check, too
    declared: list[str] = []
    for node in finding:
        evaluation: Evaluation = instantiate(OmegaConf.to_container(node.evaluator, resolve=True), "evaluator")
        evaluation.check(model, data)
        with evaluating(model):
            declared += [full_name(str(node.name), key) for key in evaluation.declare(model, data).numbers]
    if metric not in declared:
        raise UserError(f"metric: {choices(metric, declared, kind='number of this evaluation')}")


def _begins(metric: str, node: DictConfig) -> bool:
    """Whether the metric is named after the evaluation of this node."""
    return metric == node.name or metric.startswith(f"{node.name}/")


def on_test(configs: Sequence[DictConfig], metric: str) -> str:
    """A note on a metric that is measured on test; '' if it is not.

    Raises:
        UserError: it is measured on test, and the config does not allow that.
    """
    for config in configs:
        for node in evaluations(config):
            if _begins(metric, node):
                found = [{"split": _split(node.evaluator)}] if node.get("evaluator") else []
                if note := selection.check("metric", metric, found, bool(config.get(selection.ALLOW))):
                    return note
    return ""


def evaluations(config: DictConfig) -> list[DictConfig]:
    """The callbacks of a mapping or a list that have a name, as evaluations do."""
    nodes = config.get("callbacks") or {}
    return [node for node in (nodes.values() if isinstance(nodes, DictConfig) else nodes) if node and "name" in node]


def _split(evaluator: DictConfig) -> str:
    """The split of an evaluation, from its config or else its class."""
    if evaluator.get("evaluate_on") is not None:
        return str(evaluator.evaluate_on)
    made: Any = instantiate(OmegaConf.to_container(evaluator, resolve=True))  # imports torch
    return str(made.evaluate_on)
