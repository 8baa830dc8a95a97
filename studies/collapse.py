"""Does the doctor find collapses, and is it silent otherwise? Small joint-embedding runs, drawn beforehand.

    python -m studies.collapse train A runs/collapse_A.jsonl      the runs on which thresholds are chosen
    python -m studies.collapse choose runs/collapse_A.jsonl       what each choice of thresholds finds there
    python -m studies.collapse train B runs/collapse_B.jsonl      others, on which the doctor is judged once
    python -m studies.collapse report runs/collapse_B.jsonl

A run is 200 iterations of a small network on digits, 2 to 4 seconds of one core; a line in the file is one run. `train`
goes on where it was stopped, and `train B FILE 1/2` is half of the runs, for a second process with a file of its own.
`report` takes any number of files.

A run has **collapsed** if in the end its encoder's accuracy is below the untrained encoder's, or the spread of its
projector's embeddings is below 0.1. What was meant by its configuration does not matter. The accuracy is that of the
backbone's features on all 1,797 digits, by the nearest mean of 5 labelled rows a class, a mean over 10 draws of them.
The **onset** is the first look from which on the run is as in the end: its accuracy stays below the untrained encoder's
or its spread below 0.1, whichever is earlier. A collapse is **found** if the doctor's report stands at some time from
the onset to 5 % of the run later. Any report of the doctor's on a run that has not collapsed is a **false alarm**.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, product, repeat
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.callbacks.doctor import DIAGNOSES, SETTLED, TREND, Course, Diagnosis, Doctor, Lost
from frame.common.seeds import random_states
from frame.composition.compose import compose
from frame.data.base import DataSet
from frame.engine.experiment import build
from frame.evaluation.base import batches, evaluating
from frame.evaluation.vital_signs import vital_signs
from frame.optimization.clock import Agreement
from studies.draws import ranges, trials

ITERATIONS, LOOKS = 200, 100  # of a run
N = {"A": (7, 4), "B": (34, 15), "C": (34, 15), "D": (34, 15)}  # runs of each usual family and of each collapsing one
PATIENCE = 2  # of the doctor: doctor.check_every=1% doctor.patience=2 doctor.share=1
SPREAD, IN_TIME = 0.1, 0.05  # below which embeddings have collapsed; share of the run in which it is to be found
SMALL = (
    f"train_for={ITERATIONS} iterations",
    "architectures.encoder.layers=[64,32]",
    "evaluations=null",
    "logging=[csv]",
    "checkpoint.every=null",
    "doctor=null",
)
EMBEDDINGS, FEATURES = "collapse of embeddings", "features worse than untrained"  # diagnoses
PREDICTOR = "architectures.target_predictor"


def drawn(which: str) -> Iterator[tuple[str, list[str]]]:
    """The names and words of a set's runs. Each part of the order has its share of each family."""
    given = ranges("collapse.yml")
    runs = []
    for kind, n in zip(("usual", "collapsing"), N[which], strict=True):
        for name, own in given[kind].items():
            if name != "all":
                searched = {**given["all"], **given[kind]["all"], **own}
                words = searched.pop("words")
                mine = [*trials(f"{which}/{kind}/{name}", words, searched, n + 1)][1:]
                runs += [((place + 0.5) / n, *run) for place, run in enumerate(mine)]
    for _, name, words in sorted(runs, key=lambda run: run[0]):
        yield name, complete(words)


def complete(words: str) -> list[str]:
    """What is typed for a run."""
    typed = [*words.split(), *SMALL]
    predicts = any(f"digits_{method}" in words for method in ("BYOL", "SimSiam"))
    return [*typed, f"{PREDICTOR}.layers=[32]"] if predicts and f"{PREDICTOR}=" not in words else typed


class Watch:
    """Notes the doctor's signs at each look, and how good the features are at every other one."""

    def __init__(self, model: nn.Module, data: DataSet) -> None:
        self.model: Any = model
        self.looks: list[dict[str, float]] = []
        with evaluating(model):
            self.rows = next(batches(model, data, "valid", 256, 256))  # those that the doctor takes
            parts = [next(batches(model, data, split, None, 2000)) for split in data.splits]
        self.x, self.y = (torch.cat([part[key] for part in parts]) for key in ("x", "y"))
        self.labelled = labelled(self.y)

    def look(self) -> None:
        found = {}
        with evaluating(self.model):
            if len(self.looks) % 2 == 0:
                found["accuracy"] = accuracy(self.model.features(self.x), self.y, self.labelled)
            found |= vital_signs(self.model, self.rows)
        self.looks.append({name: round(value, 5) for name, value in found.items()})


def labelled(y: Tensor, n_labels: int = 5, n_draws: int = 10) -> Tensor:
    """Rows with a label: `n_labels` of each class, drawn `n_draws` times, [draws, classes, labels]."""
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(y), generator=generator) for _ in range(n_draws)]
    classes = range(int(y.max()) + 1)
    return torch.stack([torch.stack([order[y[order] == c][:n_labels] for c in classes]) for order in orders])


def accuracy(features: Tensor, y: Tensor, rows: Tensor) -> float:
    """The share of rows [N, D] whose class has the nearest mean of labelled rows by its cosine, a mean over draws."""
    z = F.normalize(features - features.mean(0), dim=1)
    means = F.normalize(z[rows].mean(2), dim=2)  # [draws, classes, D]
    nearest = (z @ means.flatten(0, 1).T).unflatten(1, means.shape[:2]).argmax(2)  # [N, draws]
    return (nearest == y.unsqueeze(1)).double().mean().item()


def trained(words: Sequence[str]) -> dict[str, Any]:
    """The looks at a run before its first iteration and after each hundredth of it; `diverged` if it did not go on."""
    with random_states():
        experiment = build(compose(list(words)))
        optimization, loader = experiment.optimization, experiment.loader
        optimization.configure_optimizers()
        optimization.start(loader, Agreement(), Tensor.backward)
        watch = Watch(experiment.model, experiment.data)
        watch.look()
        for number, batch in enumerate(islice(chain.from_iterable(repeat(loader)), ITERATIONS), start=1):
            optimization.iterate(batch)
            if number % (ITERATIONS // LOOKS) == 0:
                watch.look()
                if not all(value.isfinite().all() for value in experiment.model.parameters()):
                    break
    return {"words": list(words), "diverged": len(watch.looks) <= LOOKS, "looks": watch.looks}


def train(which: str, file: Path, part: int, parts: int) -> None:
    """Appends the runs that the file lacks."""
    torch.set_num_threads(1)
    done = {run["name"] for run in read([file])} if file.exists() else set()
    mine = [run for number, run in enumerate(drawn(which)) if number % parts == part and run[0] not in done]
    for number, (name, words) in enumerate(mine):
        line = json.dumps({"name": name, **trained(words)})
        with file.open("a") as lines:
            lines.write(line + "\n")
        print(f"{number + 1} of {len(mine)}: {name}", flush=True)


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The runs in these files, each once."""
    runs = (json.loads(line) for file in files for line in file.read_text().splitlines())
    return [*{run["name"]: run for run in runs}.values()]


@dataclass(frozen=True)
class Verdict:
    """What a run was, and what the doctor said of it; numbers are looks, of which the run had LOOKS.

    Args:
        meant: whether its family is one that is meant to collapse.
        onset: the look from which on it had collapsed; None if it had not in the end.
        by: the signs of its collapse, of 'accuracy' and 'spread'.
        halfway: the look from which on accuracy had lost half of what it lost in the end; None without such a collapse.
        reported: the looks after which a report stood.
    """

    name: str
    meant: bool
    onset: int | None
    by: tuple[str, ...]
    halfway: int | None
    reported: tuple[int, ...]

    @property
    def family(self) -> str:
        return self.name.split("/")[2].rpartition("_")[0]

    def found(self, onset: int | None) -> bool:
        """Whether a report stood between the onset and IN_TIME later."""
        return onset is not None and any(onset <= look <= onset + IN_TIME * LOOKS for look in self.reported)

    @property
    def delay(self) -> int | None:
        """Looks from the onset to the first report from then on; below 0 if an earlier one still stood."""
        if self.onset is None or not any(look >= self.onset for look in self.reported):
            return None
        standing = set(self.reported)
        first = min(look for look in standing if look >= self.onset)
        while first - 1 in standing:
            first -= 1
        return first - self.onset


def judged(run: Mapping[str, Any], doctor: Doctor, diagnoses: tuple[Diagnosis, ...]) -> Verdict:
    """What a run was, and what this doctor says of its looks."""
    looks = run["looks"]
    accuracies = {number: look["accuracy"] for number, look in enumerate(looks) if "accuracy" in look}
    spreads = {number: look.get("spread", 0.0) for number, look in enumerate(looks)}
    floor, end = accuracies[0], accuracies[max(accuracies)]
    signs = {
        "accuracy": since(accuracies, lambda value: value < floor),
        "spread": since(spreads, lambda value: value < SPREAD),
    }
    by = tuple(name for name, look in signs.items() if look is not None)
    halfway = since(accuracies, lambda value: value < (floor + end) / 2) if "accuracy" in by else None
    return Verdict(
        run["name"],
        "/collapsing/" in run["name"],
        min((look for look in signs.values() if look is not None), default=None),
        by,
        halfway,
        tuple(standing(looks, doctor, diagnoses)),
    )


def since(values: Mapping[int, float], holds: Callable[[float], bool]) -> int | None:
    """The first look from which on it holds at all later ones, the last one included; None if not at the last one."""
    first = None
    for look in sorted(values, reverse=True):
        if not holds(values[look]):
            break
        first = look
    return first


class Silent(Doctor):
    """A doctor who writes nothing."""

    def tell(self, *args: Any) -> None:
        return


def standing(looks: Sequence[Mapping[str, float]], doctor: Doctor, diagnoses: tuple[Diagnosis, ...]) -> Iterator[int]:
    """The looks after which one of the doctor's reports stands. It has looked once for each of them."""
    for number, look in enumerate(looks):
        if number == 0:
            doctor.begin(look)
        else:
            doctor.judge(doctor.compared(look), diagnoses, None, doctor.patience)
        if doctor.said:
            yield number


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many collapses there were and were found, and how many other runs there were and were reported."""
    collapses = [one for one in verdicts if one.onset is not None]
    usual = [one for one in verdicts if one.onset is None and not one.meant]
    spared = [one for one in verdicts if one.onset is None and one.meant]
    return {
        "collapses": len(collapses),
        "found": sum(one.found(one.onset) for one in collapses),
        "found, from halfway": sum(one.found(one.onset if one.halfway is None else one.halfway) for one in collapses),
        "reported": sum(bool(one.reported) for one in collapses),
        "healthy": len(usual),
        "false alarms": sum(bool(one.reported) for one in usual),
        "spared": len(spared),
        "spared and reported": sum(bool(one.reported) for one in spared),
    }


@dataclass(frozen=True)
class Choice:
    """Numbers of the doctor's, and what it finds with them. `Lost` is judged beside the doctor's own `Course`."""

    rule: Course | Lost
    trend: int = TREND
    settled: int = SETTLED
    patience: int = PATIENCE  # of the doctor
    times: int = 1  # the patience of the diagnosis

    def counted(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        known = {diagnosis.name: diagnosis for diagnosis in DIAGNOSES}
        if isinstance(self.rule, Course):
            diagnoses = [replace(known[EMBEDDINGS], holds=self.rule.collapses)]
        else:
            diagnoses = [known[EMBEDDINGS], replace(known[FEATURES], holds=self.rule.features, patience=self.times)]
        doctor = partial(doctor_of, self.trend, self.patience, self.settled)
        return counts([judged(run, doctor(), tuple(diagnoses)) for run in runs])

    @property
    def margin(self) -> tuple[float, ...]:
        """The lower, the further from a false alarm."""
        rule = self.rule
        numbers = (rule.most, rule.spread, rule.rise) if isinstance(rule, Course) else (-rule.most,)
        return (*numbers, -self.trend, -self.settled, -self.patience, -self.times)


def courses() -> Iterator[Choice]:
    """What `choose` tries for embeddings."""
    for most, spread, rise in product((0.6, 0.7, 0.8, 0.85, 0.9), (0.1, 0.2, 0.3), (1.0, 1.05)):
        for trend, patience in product((1, 2, 3), (2, 3)):
            yield Choice(Course(most, spread, rise), trend, patience=patience)


def losses() -> Iterator[Choice]:
    """What `choose` tries for features."""
    for most, settled, times in product((0.06, 0.08, 0.1, 0.12, 0.15), (8, 12, 15), (1, 2, 3, 4)):
        yield Choice(Lost(most), settled=settled, times=times)


def doctor_of(trend: int = TREND, patience: int = PATIENCE, settled: int = SETTLED) -> Doctor:
    doctor = Silent(patience=patience)
    doctor.trend, doctor.settled = trend, settled
    return doctor


def choose(runs: Sequence[Mapping[str, Any]], n: int = 8) -> None:
    """Prints the best choices: with the fewest false alarms, then the most collapses found, of features from halfway;
    of equal ones, the widest margin to a false alarm."""
    for choices, asked in ((courses(), "found"), (losses(), "found, from halfway")):
        counted = [(choice, choice.counted(runs)) for choice in choices]
        counted.sort(key=lambda one: (one[1]["false alarms"], -one[1][asked], one[0].margin))
        print("\n".join(f"{choice}: {found}" for choice, found in counted[:n]), end="\n\n")


def report(runs: Sequence[Mapping[str, Any]], patience: int) -> None:
    """Prints what the doctor finds, as it is."""
    verdicts = [judged(run, doctor_of(patience=patience), DIAGNOSES) for run in runs]
    print("| family | runs | collapsed | found | found, from halfway | reported | not collapsed | reported |")
    print("|---|---|---|---|---|---|---|---|")
    for family in dict.fromkeys(one.family for one in sorted(verdicts, key=lambda one: (one.meant, one.family))):
        mine = [one for one in verdicts if one.family == family]
        of = counts(mine)
        rest = len(mine) - of["collapses"], of["false alarms"] + of["spared and reported"]
        cells = (of[key] for key in ("collapses", "found", "found, from halfway", "reported"))
        print("| " + " | ".join(map(str, (family, len(mine), *cells, *rest))) + " |")
    for name, some in {
        "all": verdicts,
        "by spread": [one for one in verdicts if "spread" in one.by],
        "by accuracy alone": [one for one in verdicts if one.by == ("accuracy",)],
        "onset in the first 4 %": [one for one in verdicts if one.onset is not None and one.onset <= 4],
    }.items():
        print(f"{name}: {counts(some)}")
    late = sorted(one.delay for one in verdicts if one.delay is not None and not one.found(one.onset))
    print(f"reported too late, looks after the onset: {late}")
    print("false alarms:", ", ".join(one.name for one in verdicts if one.onset is None and one.reported))


def main(what: str, *words: str) -> None:
    if what == "train":
        part, parts = words[2].split("/") if len(words) > 2 else ("1", "1")
        train(words[0], Path(words[1]), int(part) - 1, int(parts))
    elif what == "choose":
        choose(read([Path(file) for file in words]))
    else:
        report(read([Path(file) for file in words]), PATIENCE)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] in ("train", "choose", "report"):
        main(*sys.argv[1:])
    else:
        sys.exit(str(__doc__).partition("\n\n")[2].partition("\n\n")[0])
