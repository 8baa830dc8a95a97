"""`frame try`: a first look at a folder of pictures, in the time that is given."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame.common.errors import UserError
from frame.common.files import write_text, writing
from frame.common.shell import pasted
from frame.composition.plain import as_yaml
from frame.composition.words import typed
from frame.data.folders import class_names, folder_name, look_through, split_folders
from frame.data.identity import listed
from frame.runs.listing import table

if TYPE_CHECKING:
    import pandas

MOST = 20_000  # pictures; of more, some are drawn
LEAST = 20
SIDES = (32, 16, 8)  # pixels: the largest that the pictures' shorter sides have, or nearly so
ENLARGED = 1.25  # times, at most: pictures of 28 x 28 pixels are trained at 32 and not at 16
SHARE = 0.3  # of the time, for the training of each method
LABELLED: dict[str, dict[str, Any]] = {"knn": {"n_neighbours": 20}, "linear_probe": {"cs": [0.1, 1.0]}}
UNLABELLED: dict[str, dict[str, Any]] = {"geometry": {}}
NO_RANKING = "One seed and minutes of training: a first look, and no ranking of the two methods."


@dataclass
class Contents:
    """What is in a folder of pictures.

    Args:
        root: the folder.
        pictures: paths below it.
        classes, splits: names of class folders, and the split folders by split; empty if there are none.
        sizes: how many pictures have which width and height.
        grey: whether no picture has colours.
        copies: pictures that are byte for byte another one, each with the first such picture.
        broken: pictures that cannot be opened, with the reasons.
        left_out: what is no picture.
    """

    root: Path
    pictures: list[Path]
    classes: list[str]
    splits: dict[str, str]
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    grey: bool = True
    copies: dict[Path, Path] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)
    left_out: str = ""

    @property
    def side(self) -> int:
        """Pixels of a side to train at."""
        shorter = sorted(min(size) for size, n in self.sizes.items() for _ in range(n))
        middle = shorter[len(shorter) // 2]
        return next((side for side in SIDES if side <= ENLARGED * middle), SIDES[-1])

    def lines(self) -> list[str]:
        """What is told about them."""
        widths, heights = zip(*self.sizes, strict=True)
        sizes = f"{min(widths)} x {min(heights)} to {max(widths)} x {max(heights)} pixels"
        if len(self.sizes) == 1:
            sizes = f"{widths[0]} x {heights[0]} pixels each"
        told = [f"{len(self.pictures)} pictures in {self.root}, {sizes}, {'grey' if self.grey else 'in colour'}"]
        if self.splits:
            told.append(f"splits: {', '.join(f'{split} in {name}/' for split, name in self.splits.items())}")
        told.append(self._classes())
        if self.copies:
            pairs = [f"{folder_name(one)} = {folder_name(other)}" for one, other in self.copies.items()]
            told.append(f"{len(self.copies)} are copies of others, byte for byte: {listed(pairs, 3)}")
        if self.left_out:
            told.append(f"left out: {self.left_out}")
        return told

    def _classes(self) -> str:
        if len(self.classes) < 2:
            return "no class folders, so that nothing is measured with labels"
        depth = 1 if self.splits else 0
        counts = Counter(folder_name(path.parts[depth]) for path in self.pictures)
        several = [f"{name} {counts[name]}" for name in self.classes]
        return f"{len(self.classes)} classes: {listed(several, 12)}"


def contents(root: Path) -> Contents:
    """Looks through a folder; opens each picture without decoding it.

    Raises:
        UserError: there is no such folder, or there are too few pictures in it.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}" + (": unpack an archive first" if root.is_file() else ""))
    found = look_through(root)
    if len(found.pictures) < LEAST:
        raise UserError(f"{root} has {len(found.pictures)} pictures: at least {LEAST} are needed for a first look")
    splits = split_folders(root, found)
    paths = {split: (root / name, _below(found.pictures, name)) for split, name in splits.items()}
    names = class_names(paths or {"train": (root, found.pictures)}, root)
    made = Contents(root, found.pictures, names, splits, left_out=found.summary)
    _open(made)
    return made


def _below(pictures: list[Path], name: str) -> list[Path]:
    return [path.relative_to(name) for path in pictures if path.parts[0] == name]


def _open(made: Contents) -> None:
    """Fills in sizes, colours, copies and what is broken."""
    from PIL import Image

    seen: dict[str, Path] = {}
    for path in made.pictures:
        file = made.root / path
        try:
            with Image.open(file) as picture:
                made.sizes[picture.size] += 1
                made.grey = made.grey and picture.mode in ("1", "L", "LA")
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        except Exception as error:  # the error of a broken picture depends on its format
            made.broken[path] = (str(error).splitlines() or [type(error).__name__])[0][:60]
            continue
        if seen.setdefault(digest, path) != path:
            made.copies[path] = seen[digest]
    if made.broken:
        some = [f"{folder_name(path)} ({why})" for path, why in made.broken.items()]
        raise UserError(f"{len(some)} pictures in {made.root} cannot be read: {listed(some, 5)}: mend or remove them")


def drawn(made: Contents, place: Path) -> Path:
    """The folder to train on: the pictures themselves, or links to `MOST` of them, evenly drawn."""
    if len(made.pictures) <= MOST:
        return made.root
    step = len(made.pictures) / MOST
    with writing(place):
        for i in range(MOST):
            path = made.pictures[int(i * step)]
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            if not (place / path).is_symlink():
                os.symlink((made.root / path).resolve(), place / path)
    return place


def methods(root: Path, made: Contents) -> dict[str, list[str]]:
    """The words of two methods of two families, at a size that fits the time: a generative and a contrastive one."""
    networks = "conv" if made.side >= 16 else "mlp"
    of_pictures = {"root": str(root.resolve()), "size": made.side, "channels": 1 if made.grey else 3}
    views = "views_grey" if made.grey else "views_natural"
    below = [f"{key}={typed(value)}" for key, value in of_pictures.items()]
    return {
        "VAE": ["model=VAE", "data=images", *(f"data.{word}" for word in below), f"architectures={networks}"],
        "SimCLR": [
            "model=SimCLR",
            f"data={views}",
            "data.data=images",
            *(f"data.data.{word}" for word in below),
            f"architectures/encoder={networks}",
        ],
    }


def first_look(root: Path, minutes: float, place: Path) -> list[str]:
    """Trains and measures two methods, and returns what is printed at the end.

    Args:
        root: the folder of pictures.
        minutes: about how long it takes; three fifths of it are training.
        place: the folder for the runs, the page and the file of a study.

    Raises:
        UserError: the pictures or the time do not do, or a training failed.
    """
    from frame.analysis.report import report_pieces
    from frame.engine.calls import evaluate, train

    made = contents(root)
    print("\n".join(made.lines()), flush=True)
    words = methods(drawn(made, place / "pictures"), made)
    labelled = len(made.classes) > 1
    runs = []
    for name, chosen in words.items():
        pictures: dict[str, Any] = {"reconstruction": {"n_pictures": 10}, "samples": {}} if name == "VAE" else {}
        print(f"\n{name}, {60 * SHARE * minutes:.0f} s of training", flush=True)
        runs.append(
            train(
                *chosen,
                train_for=f"{max(1, round(60 * SHARE * minutes))} seconds",
                evaluations=pictures or None,
                logging=[],
                experiment_name=f"try_{name}",
                device={"experiments_root": str(place)},
            )
        )
    asked = {**(LABELLED if labelled else UNLABELLED), "neighbour_pictures": {}}
    records = evaluate(runs, asked, on="test")
    paths = [run.folder.path for run in runs]
    page = place / "first_look.html"
    with writing(page):
        write_text(page, "".join(report_pieces(paths, [], ["model"])))
    study = place / "study.yml"
    write_text(study, _study(words))
    drawings = [f"picture  {picture}" for run in runs for picture in run.folder.newest_pictures]
    metric = "linear_probe/Test/features" if labelled else "geometry/Test/features/rankme"
    return [
        "",
        _side_by_side(records, [*words]),
        "",
        *drawings,
        f"page     {page}",
        "",
        NO_RANKING,
        "For a study, with five seeds and longer training:",
        f"  frame sweep {pasted(study)} seeds=5",
        f"  frame evaluate runs/studies/study evaluation={','.join(asked)} evaluate_on=test",
        f"  frame compare runs/studies/study rows=model metrics={metric}",
    ]


def _study(words: dict[str, list[str]]) -> str:
    content = {
        "program": "train.py",
        "method": "grid",
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}", "train_for='200 epochs'"],
        "variants": {name: pasted(*chosen) for name, chosen in words.items()},
    }
    return "# Two methods on your pictures: frame sweep study.yml seeds=5\n" + as_yaml(content)


def _side_by_side(records: "pandas.DataFrame", names: list[str]) -> str:
    """A row for each number, a column for each method. Floors are numbers that need no training."""
    rows: dict[str, dict[str, Any]] = {}
    units = records.groupby("name")["unit"].unique()
    for record in records.to_dict("records"):
        error, unit = record.get("standard_error"), record["unit"]
        value = f"{record['value']:.4g}" + (f" ± {error:.2g}" if error is not None and error == error else "")
        if len(units[record["name"]]) > 1:  # such as ranks of codes of several sizes
            value, unit = f"{value} {unit}", ""
        row = rows.setdefault(str(record["name"]), {"": record["name"], "unit": unit})
        row[str(record["model"])] = value
    ordered = sorted(rows.values(), key=lambda row: "/floor/" in str(row[""]))
    return table(ordered, ["", *names, "unit"])
