"""All commands read their words with one parser, by what each declares."""

from pathlib import Path
from typing import Any

import pytest

from frame.commands import help as helps
from frame.commands.parser import parse
from frame.common.errors import UserError

COMMANDS = {name: helps.command(name) for name in helps.names()}

WRONG = [
    # names
    ("sweep", ["f.yml", "--seeds=5"], "write seeds=5"),
    ("sweep", ["f.yml", "--seeds", "5"], "write seeds=5"),
    ("sweep", ["f.yml", "-x"], "no option of sweep '-x'"),
    ("report", ["runs", "ou=a.html"], "did you mean 'out'?"),
    ("plot", ["runs", "X=a"], "no option of plot 'X'"),
    ("export", ["runs/a", "--format", "onnx"], "write format=onnx"),
    ("show", ["runs", "sort=a"], "no option of show 'sort'. There are none"),
    ("new", ["model", "My", "kind=a"], "no option of new 'kind'"),
    # twice, nothing, spaces
    ("sweep", ["f.yml", "seeds=2", "seeds=3"], "seeds= is typed twice"),
    ("train", ["resume=a", "resume=b"], "resume= is typed twice"),
    ("train", ["--config-dir", "a", "--config-dir", "b"], "--config-dir is typed twice"),
    ("train", ["--config-dir"], "--config-dir needs a folder"),
    ("train", ["resume="], "resume= has no value"),
    ("list", ["sort="], "sort= has no value"),
    ("sweep", ["f.yml", "seeds", "=", "5"], "without spaces around ="),
    ("sweep", ["f.yml", "seeds =5"], "write seeds=5, without spaces"),
    ("sweep", ["f.yml", "seeds= 5 x"], "seeds= 5 x"),
    ("list", [""], "a word is empty"),
    ("train", ["experiment", "tiny"], "cannot read 'experiment': write key=value"),
    # characters of web pages
    ("train", ["\u2013-config-dir=a"], "is not a hyphen"),
    ("train", ["experiment=\u201ctiny\u201d"], "quotes of a web page"),
    ("sweep", ["\u2018f.yml\u2019"], "quotes of a web page"),
    ("sweep", ["f.yml\u00a0seeds=5"], "a no-break space"),
    ("train", ["experiment=a\0b"], "a zero byte"),
    # values
    ("sweep", ["f.yml", "seeds=[]"], "it has no seed"),
    ("sweep", ["f.yml", "seeds=0"], "write how many"),
    ("sweep", ["f.yml", "seeds=-1"], "write how many"),
    ("sweep", ["f.yml", "seeds=1e3"], "write how many"),
    ("sweep", ["f.yml", "seeds=[1,1]"], "twice"),
    ("sweep", ["f.yml", "seeds=[1,a]"], "write how many"),
    ("sweep", ["f.yml", "seeds=9999999999"], "write how many"),
    ("sweep", ["f.yml", "jobs=\u00b2"], "write a whole number"),
    ("sweep", ["f.yml", "jobs=2.0"], "write a whole number"),
    ("sweep", ["f.yml", "run_cap=99999999999999999999999"], "write a whole number"),
    ("sweep", ["f.yml", "again=yes"], "no again 'yes'"),
    ("export", ["runs/a", "tolerance=nan"], "tolerance is a number above 0"),
    ("export", ["runs/a", "tolerance=inf"], "tolerance is a number above 0"),
    ("export", ["runs/a", "tolerance=0"], "tolerance is a number above 0"),
    ("export", ["runs/a", "out=/dev/null"], "/dev/null is not a folder"),
    ("export", ["runs/a", "out=/dev/null/x"], "/dev/null is not a folder"),
    ("compare", ["runs", "metrics=[a"], "write metrics=[a,b]"),
    ("compare", ["runs", "metrics=[]"], "the list is empty"),
    ("compare", ["runs", "out=a.doc"], "it ends in one of .csv, .md, .tex"),
    ("compare", ["runs", "out=/dev/null/a.csv"], "/dev/null is not a folder"),
    ("report", ["runs", "out=."], "a report ends in .html"),
    ("evaluate", ["runs", "device=gpu"], "write device=cpu, cuda"),
    # places
    ("sweep", ["a.yml", "b.yml"], "sweep needs one file"),
    ("sweep", [], "sweep needs one file"),
    ("new", ["model"], "new needs a kind and a name"),
    ("evaluate", ["evaluate_on=test"], "evaluate needs a run"),
]


@pytest.mark.parametrize(("name", "words", "says"), WRONG, ids=lambda value: " ".join(value)[:50] if value else "none")
def test_a_word_that_is_wrong_is_named(name: str, words: list[str], says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(COMMANDS[name], words)
    assert says in str(error.value) and "\n" not in str(error.value)


RIGHT = [
    ("sweep", ["f.yml", "seeds=3"], {"seeds": (1, 2, 3)}),
    ("sweep", ["f.yml", "seeds=[0,7]"], {"seeds": (0, 7)}),
    ("sweep", ["f.yml", "seeds=4,5"], {"seeds": (4, 5)}),
    ("compare", ["runs", "metrics=[ELBO/Test, b]"], {"metrics": ["ELBO/Test", "b"]}),
    ("evaluate", ["runs/a=1/b", "again=True"], {"again": True}),
    ("export", ["runs/a", "tolerance=1e-4"], {"tolerance": 1e-4}),
    ("train", ["resume=runs/a=1/b"], {"resume": "runs/a=1/b"}),
]


@pytest.mark.parametrize(("name", "words", "options"), RIGHT, ids=lambda value: " ".join(value)[:50])
def test_a_value_has_its_type(name: str, words: list[str], options: dict[str, Any]) -> None:
    assert parse(COMMANDS[name], words).options == options


def test_words_for_others_are_kept_as_they_are() -> None:
    typed = parse(COMMANDS["sweep"], ["f.yml", "launcher.timeout_min=60", "train_for='1 epoch'", "~callbacks.a"])
    assert typed.places == ["f.yml"] and typed.others == ["train_for='1 epoch'", "~callbacks.a"]
    assert typed.families == {"launcher": {"timeout_min": "60"}}
    assert parse(COMMANDS["train"], ["architectures/encoder=conv", "a=1"]).others == [
        "architectures/encoder=conv",
        "a=1",
    ]


@pytest.mark.parametrize("out", ["/proc/x.csv", "/proc/x/y.md"])
def test_an_out_that_cannot_be_written_is_one_line(out: str, tmp_path: Path) -> None:
    from frame.common.files import writing

    with pytest.raises(UserError, match="cannot be written"), writing(Path(out)):
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text("")
