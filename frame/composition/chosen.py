"""Chooses the file of each config group: typed by the user, named by the experiment, or suggested by its model.

A group is a folder of config/: `model`, `data`, `optimization`, and one for each network, `architectures/encoder`. A
model's file has `suggests`, which names an option for the optimization and for each network that the model needs. The
experiment or the command line can name others. What is typed wins over the experiment, in any order.
Nothing here imports torch.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from frame.common.errors import UserError, choices
from frame.composition.config_files import load, state
from frame.composition.folders import file_of, options
from frame.composition.settings import PARTS, references

NETWORKS = "architectures"
SUGGESTS = "suggests"
# if a model's file suggests nothing: the first of these that the group has
USUAL = {"optimization": ("batch_ADAM",), NETWORKS: ("mlp", "normal")}


@dataclass
class Named:
    """What an experiment's file, and the files that it inherits from, say about groups.

    `options` are the entries of `defaults`, by group. `spelled` are the nodes whose `_target_` is in the file itself,
    such as 'architectures.encoder'. `refers` are the names of the networks that the file refers to.
    """

    options: dict[str, str] = field(default_factory=dict)
    spelled: set[str] = field(default_factory=set)
    refers: set[str] = field(default_factory=set)

    def effective(self) -> dict[str, str]:
        """The option of each group that the experiment's values belong to."""
        suggested = suggestions(self.options["model"]) if "model" in self.options else {}
        free = {group: option for group, option in suggested.items() if node_of(group) not in self.spelled}
        found = {**free, **self.options}
        return {**{group: option for group, option in _inner(found).items() if option is not None}, **found}


def _inner(chosen: Mapping[str, str]) -> dict[str, str | None]:
    """The options that the chosen files name below their own node, such as {'data@data.data': 'digits'}, or None."""
    found = {}
    for group, option in chosen.items():
        file = file_of(group.partition("@")[0], option)
        for entry in (_content(file).get("defaults") or []) if file is not None else []:
            for written, inner in entry.items() if isinstance(entry, dict) else ():
                name, at, package = str(written).split()[-1].lstrip("/").partition("@")
                if at and (inner is None or isinstance(inner, str)):
                    found[f"{name}@{node_of(group)}.{package}"] = inner
    return found


def node_of(group: str) -> str:
    """The node at which a group's file is placed: 'architectures/encoder' -> 'architectures.encoder'."""
    name, at, package = group.partition("@")
    return package if at else name.replace("/", ".")


def named(experiment: str) -> Named:
    """What config/experiment/<experiment>.yaml and the files that it inherits from name and spell out."""
    found = Named()
    _read_experiment(experiment, found, set())
    return found


def _read_experiment(experiment: str, found: Named, seen: set[str]) -> None:
    file = file_of("experiment", experiment)
    if file is None or experiment in seen:  # Hydra reports both
        return
    seen.add(experiment)
    body = _content(file)
    entries = body.get("defaults")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, str) and entry != "_self_":
            _read_experiment(entry.rsplit("/", 1)[-1], found, seen)
        for written, option in entry.items() if isinstance(entry, dict) else ():
            group = str(written).split()[-1].lstrip("/")  # without the words `override` and `optional`
            if group == "experiment":
                _read_experiment(str(option), found, seen)
            elif isinstance(option, str):
                found.options[group] = option
    nodes = {part: body.get(part) for part in PARTS}
    networks = body.get(NETWORKS)
    nodes |= {f"{NETWORKS}.{name}": node for name, node in networks.items()} if isinstance(networks, dict) else {}
    found.spelled |= {path for path, node in nodes.items() if isinstance(node, dict) and "_target_" in node}
    found.refers |= _networks_in(body)


def model_file(model: str) -> dict[str, Any]:
    """The content of config/model/<model>.yaml with what it inherits. Empty if there is no such file."""
    found: dict[str, Any] = {}
    for name in [*reversed(ancestors("model", model)), model]:
        file = file_of("model", name)
        found |= _content(file) if file is not None else {}
    return found


def ancestors(group: str, option: str) -> list[str]:
    """The files of its group that a file inherits from through its `defaults`, nearest first."""
    found: list[str] = []
    file = file_of(group, option)
    entries = _content(file).get("defaults") if file is not None else None
    for entry in reversed(entries) if isinstance(entries, list) else ():
        if isinstance(entry, str) and entry not in ("_self_", option, *found):
            found += [entry, *ancestors(group, entry)]
    return found


def _content(file: Path) -> dict[str, Any]:
    """A file's content. It is read again only if the file changes, and the caller must not change it."""
    return _read(file, *state(file))


@lru_cache(maxsize=512)
def _read(file: Path, *now: int) -> dict[str, Any]:
    try:
        return load(file)
    except UserError:  # Hydra reads the file, too, and reports the error
        return {}


def suggestions(model: str) -> dict[str, str]:
    """The options that a model's file suggests, by group, and the usual option where it suggests none."""
    content = model_file(model)
    if not content:
        return {}
    found = {str(group): str(option) for group, option in (content.get(SUGGESTS) or {}).items()}
    for group in ("optimization", *(f"{NETWORKS}/{name}" for name in sorted(_networks_in(content)))):
        usual = USUAL.get(group, USUAL[NETWORKS])
        option = next((option for option in usual if file_of(group, option) is not None), None)
        if group not in found and option is not None:
            found[group] = option
    return found


def networks_of(model: str) -> list[str]:
    """The names of the networks that a model's file refers to, such as `${architectures.encoder}`."""
    return sorted(_networks_in(model_file(model)))


def _networks_in(content: Any) -> set[str]:
    return {word.split(".")[1] for word in references(content) if word.startswith(f"{NETWORKS}.")}


def coefficients_of(model: str) -> set[str]:
    """The names in `params` that a model's file refers to."""
    content = {key: node for key, node in model_file(model).items() if key not in ("params", SUGGESTS)}
    return {word.split(".")[1] for word in references(content) if word.startswith("params.")}


def words_for_hydra(typed: Sequence[Override]) -> list[str]:
    """The words that choose files, in the order in which Hydra merges them.

    Args:
        typed: the parsed words that choose files: `experiment=`, `model=`, `architectures/encoder=`, and
            `architectures=conv`, which stands for all networks of the model that have this option.

    Raises:
        UserError: a group is chosen twice, or the model has no such network.
    """
    _check_once(typed)
    parts = _parts(typed)
    others = [o.input_line or "" for o in typed if o not in parts.values() and o.key_or_group != "experiment"]
    wanted = {group: str(o.value()) for group, o in parts.items()}
    experiments = [o for o in typed if o.key_or_group == "experiment"]
    there = _named_by(experiments)
    model = wanted.get("model") or there.options.get("model")
    suggested = suggestions(model) if model is not None and "model" not in there.spelled - {*wanted} else {}
    if NETWORKS in wanted:
        wanted = {**_every_network(wanted.pop(NETWORKS), model, suggested), **wanted}
    if model is not None:
        _check_networks(wanted, model, there)
    before, after = [], []
    for group, option in {**suggested, **wanted}.items():
        if group in there.options:
            if group in wanted or there.options[group] == _former(there, group) != option:
                after.append(f"{group}={option}")
        elif "@" in group:  # an entry of another file's defaults
            if group not in _inner({**there.options, **wanted}):
                raise UserError(
                    f"{node_of(group)}={option}: the data are not made of other data: choose data=views or "
                    "data=few_labels, say"
                )
            after.append(f"{group}={option}")
        elif node_of(group) not in there.spelled:
            before.append(f"+{group}={option}")
        elif group in wanted:
            after.append(f"+{group}={option}")
    return [*before, *(o.input_line or "" for o in experiments), *after, *others]


def nodes_inside(typed: Sequence[Override]) -> set[str]:
    """The nodes below the chosen files that have options of their own, such as 'data.data' of data=views."""
    there = _named_by([o for o in typed if o.key_or_group == "experiment"])
    wanted = {group: str(o.value()) for group, o in _parts(typed).items()}
    return {node_of(group) for group in _inner({**there.options, **wanted})}


def _parts(typed: Sequence[Override]) -> dict[str, Override]:
    """The words that choose files of parts and networks, by group."""
    return {o.key_or_group + (f"@{o.package}" if o.package else ""): o for o in typed if is_part(o)}


def _named_by(experiments: Sequence[Override]) -> Named:
    return named(str(experiments[-1].value())) if experiments else Named()


def is_part(override: Override) -> bool:
    """Whether a word chooses the file of a part or of a network."""
    return not override.is_delete() and override.key_or_group.split("/")[0] in (*PARTS, NETWORKS)


def _former(there: Named, group: str) -> str | None:
    """What the experiment's own model suggests. If the model is replaced, so are its suggestions."""
    return suggestions(there.options["model"]).get(group) if "model" in there.options else None


def _check_once(typed: Sequence[Override]) -> None:
    seen: dict[str, Override] = {}
    for override in typed:
        key = override.get_key_element().lstrip("+~")
        if key in seen and str(seen[key].value()) != str(override.value()):
            raise UserError(f"{key}={seen[key].value()} and {key}={override.value()}: choose one of them")
        seen[key] = override


def _every_network(option: str, model: str | None, suggested: Mapping[str, str]) -> dict[str, str]:
    """Chooses this option for each network of the model that has it."""
    if model is None:
        raise UserError(f"{NETWORKS}={option}: it chooses the networks of a model: add model=...")
    networks = [group for group in suggested if group.startswith(f"{NETWORKS}/")]
    found: dict[str, str] = {}
    for group in networks:
        there, own = options(group), suggested[group]
        same = own.replace("mlp", option) if "mlp" in own else option  # 'mlp_deterministic' -> 'conv_deterministic'
        found |= next(({group: name} for name in (same, option) if name in there), {})
    if not found:
        there = sorted({name for group in networks for name in options(group)})
        raise UserError(f"{NETWORKS}={option}: {model}: {choices(option, there, kind='network')}")
    return found


def _check_networks(wanted: Collection[str], model: str, there: Named) -> None:
    """Raises UserError if neither the model nor the experiment refers to a chosen network."""
    asked = {*networks_of(model), *(there.refers if there.options.get("model") == model else ())}
    for group in wanted:
        name = group.removeprefix(f"{NETWORKS}/")
        if group != name and name not in asked:
            raise UserError(f"{group}: {model} has no such network: {choices(name, asked, kind='network')}")
