"""Merges config files as Hydra does, with three rules of ours. Nothing here imports torch.

1. If two layers name different classes in `_target_`, the whole lower node is dropped, except `_partial_`, which says
   how a node is used. A file that inherits from another of its group (`defaults: [VAE, _self_]`) keeps the other keys.
2. An experiment's values below a group belong to the option that the experiment names. If the user chooses another
   option, they are dropped, and with another model also the coefficients of the former one.
3. A value of `params` that only a group's file sets is dropped if nothing refers to it.
"""

from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from frame.composition.chosen import SUGGESTS, ancestors, coefficients_of, named, node_of
from frame.composition.settings import PARTS, references

STAYS = ("_partial_",)
HERE = "."  # the path of a node itself
HYDRA = "hydra"  # Hydra's own settings
SEARCHPATH = "hydra.searchpath"  # the only one that is read


class Layers(ConfigLoaderImpl):
    """Hydra's loader with the three rules."""

    def composed(self, name: str, words: list[str]) -> DictConfig:
        """What Hydra composes from a file and words, without its own settings, which would nearly double the time."""
        typed, repo = self._parse_overrides_and_create_caching_repo(name, words)
        self.validate_sweep_overrides_legal(typed, run_mode=RunMode.RUN, from_shell=False)
        chosen = create_defaults_list(repo, name, typed, prepend_hydra=False, skip_missing=False)
        config = self._compose_config_from_defaults_list(chosen.defaults, repo)
        _remove(config, HYDRA)
        OmegaConf.set_struct(config, True)
        values = [override for override in chosen.config_overrides if override.key_or_group != SEARCHPATH]
        self._apply_overrides_to_config(values, config)
        return config

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        chosen = dict(_choice(default) for default in defaults)
        config = OmegaConf.create()
        brought = set[str]()
        with flag_override(config, "no_deepcopy_set_nodes", True):
            for default in defaults:
                path = str(default.config_path)
                layer: Any = self._load_single_config(default, repo).config
                if path.startswith("model/"):
                    _remove(layer, SUGGESTS)
                if path.startswith("experiment/"):
                    drop_values_of_others(layer, path.removeprefix("experiment/"), chosen)
                drop_changed(config, layer, kept=_inherits(default))
                brought = _brought(layer) | brought if path.split("/")[0] in PARTS else brought - _brought(layer)
                try:
                    config.merge_with(layer)
                except OmegaConfBaseException as error:
                    raise ConfigCompositionException(f"config/{path}.yaml: {error}") from None
        _remove_defaults(config)
        words = references(OmegaConf.to_container(config, resolve=False))
        for path in brought:
            if not any(word == path or word.startswith(f"{path}.") for word in words):
                _remove(config, path)
        return config


def _choice(default: ResultDefault) -> tuple[str, str]:
    """The group and the option of a file: ('architectures/encoder', 'mlp'), ('data@data.data', 'MNIST')."""
    group, _, option = str(default.config_path).rpartition("/")
    apart = default.package not in ("", None, node_of(group))
    return default.override_key or (f"{group}@{default.package}" if apart else group), option


def _inherits(default: ResultDefault) -> str:
    """The node of a file that inherits from another one of its group; '' for all other files."""
    group, option = _choice(default)
    return node_of(group) if ancestors(group.partition("@")[0], option) else ""


def _brought(layer: DictConfig) -> set[str]:
    """The keys of `params` in one file."""
    params = layer.get("params")
    return {f"params.{name!s}" for name in params} if isinstance(params, DictConfig) else set()


def drop_values_of_others(layer: DictConfig, experiment: str, chosen: dict[str, str]) -> None:
    """Removes an experiment's values below groups for which another option than the experiment's is chosen."""
    for group, option in named(experiment).effective().items():
        now = chosen.get(group)
        if now is not None and option in (now, *ancestors(group, now)):
            continue
        _remove(layer, node_of(group))
        if group == "model":
            for name in coefficients_of(option):
                _remove(layer, f"params.{name}")


def drop_changed(below: Any, above: Any, kept: str = "") -> None:
    """Empties the mappings in `below` for which `above` names another class, except the node at the path `kept`."""
    if not (isinstance(below, DictConfig) and isinstance(above, DictConfig)):
        return
    if below._is_none() or above._is_none() or below._is_missing() or above._is_missing():
        return
    with flag_override(below, ["struct", "readonly"], False):
        changes = "_target_" in below and "_target_" in above and _target(below) != _target(above)
        if changes and kept != HERE:
            for key in [key for key in below if key not in STAYS]:
                del below[key]
            return
        for key in above:
            if key in below:
                first, _, rest = kept.partition(".")
                drop_changed(below._get_node(key), above._get_node(key), (rest or HERE) if key == first else "")


def _target(node: DictConfig) -> Any:
    return node._get_node("_target_")._value()  # type: ignore[union-attr]


def _remove(config: DictConfig, path: str) -> None:
    """Removes a key if it is there."""
    above, _, name = path.rpartition(".")
    parent: Any = OmegaConf.select(config, above, throw_on_missing=False) if above else config
    if isinstance(parent, DictConfig) and not parent._is_none() and name in parent:
        with flag_override(parent, ["struct", "readonly"], False):
            del parent[name]


def _remove_defaults(node: Any) -> None:
    """Removes the lists of defaults, which Hydra marks."""
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none():
        return
    with flag_override(node, ["readonly", "struct"], False):
        if node._get_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"):
            node._set_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS", None)
            node.pop("defaults", None)
    for _, child in node.items_ex(resolve=False):
        _remove_defaults(child)
