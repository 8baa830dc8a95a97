"""YAML of plain values: values are read as they were written, and nothing else can be read."""

import math
import random
import time
from collections.abc import Callable

import pytest
import yaml
from omegaconf import OmegaConf

from frame.composition.folders import config_folder
from frame.composition.plain import Text, _parsed, as_config, as_yaml, parse_yaml

ALPHABET = "\x85\u2028\u2029\r\\\\\\${}$a:1. -e_~#&*!|>'\"%@`,[]?nulltrue\t\nyoff0x/=<é\x07"


def test_any_text_survives_writing_and_reading() -> None:
    drawn = random.Random(0)
    for _ in range(5000):
        text = "".join(drawn.choice(ALPHABET) for _ in range(drawn.randrange(9)))
        assert parse_yaml(as_yaml({"a": text, text: [text]})) == ({"a": text} | {text: [text]})


@pytest.mark.parametrize(
    "value",
    [1.5, 1e-5, 1e300, math.inf, -0.0, 3, 10**20, True, None, [], {}, [[], {}], "1:30", "2020-01-01", "1e-3", "0x1F"]
    + ["017", "=", "<<", "yes", ".5", "1_000", "-.inf", "+1", "null", "", " x ", "a: b", "- c", "1:00:00:00"],
)
def test_values_keep_their_types(value: object) -> None:
    text = as_yaml({"a": value})
    (read,) = parse_yaml(text).values()
    assert read == value and type(read) is type(value)
    assert OmegaConf.to_container(OmegaConf.create(text)) == {"a": value}  # and with OmegaConf


def test_numbers_are_read_as_hydra_reads_them() -> None:
    assert parse_yaml("{a: 1e-3, b: -.inf, c: .5, d: on, e: ~, f: 1_000, g: .nan}")["a"] == 1e-3
    assert parse_yaml("- 1:30\n- 2020-01-01\n- 0o7") == ["1:30", "2020-01-01", "0o7"]


BOMBS = {
    "aliases": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)),
    "an anchor alone": "a: &a 1",
    "deep lists": "a: " + "[" * 100_000,
    "deep mappings": "{a: " * 50_000,
    "a tag": "a: !!python/object/apply:os.system [x]",
    "a tag of ours": "a: !mine 1",
    "a set": "a: !!set {b}",
    "binary": "a: !!binary aGk=",
    "twice": "a: 1\nb: 2\na: 3",
    "several documents": "a: 1\n---\nb: 2",
    "a list as a key": "? [a, b]\n: 1",
    "no YAML": "a: [1",
    "a tab": "a:\n\tb: 1",
    "control characters": "a: \x00",
}


@pytest.mark.parametrize("name", BOMBS)
def test_other_yaml_is_refused_at_once(name: str) -> None:
    started = time.monotonic()
    with pytest.raises((ValueError, yaml.YAMLError)):
        parse_yaml(BOMBS[name])
    assert time.monotonic() - started < 2


LINES = (
    ["a: 1", "b:", "c: x", "  d: 2", "  - 3", "- 4", "  e:", "a: 'x", "y'", "  z'", 'b: "q', '  w"', "k: [1,", "2]"]
    + ["m: {n: 1,", "  o: 2}", "p: 3}", "? q", ": r", "?", "# c", "", "  # d", "  u", "v", "w: ''", "x: {}", "'q': 1"]
    + ["_s: 'a: b'", 't: "\\', "n: ~", "null: 1", "true: 2", "e: # j", "'", "---", "...", "%YAML 1.1", "f: |", "g: >-"]
    + ["   h", "q: &x 1", "r: *x", "i: !!str 1", "s: é", "t:\t1"]
)


def test_reading_a_text_key_by_key_equals_reading_it_at_once() -> None:
    def said(read: Callable[[str], object], text: str) -> str:
        try:
            return repr(read(text))
        except (ValueError, yaml.YAMLError) as error:
            return str(error)

    drawn = random.Random(0)
    texts = ["\n".join(drawn.choice(LINES) for _ in range(drawn.randrange(1, 7))) for _ in range(4000)]
    texts += [file.read_text() for file in sorted(config_folder().rglob("*.yaml"))] + [*BOMBS.values()]
    for text in texts:
        assert said(parse_yaml, text) == said(_parsed, text), text


def test_each_reading_returns_a_new_copy() -> None:
    for first in (parse_yaml("a: {b: [1]}\nc: 2\n"), parse_yaml("a: {b: [1]}\nc: 3\n")):
        first["a"]["b"].append(2)
    assert parse_yaml("a: {b: [1]}\nc: 2\n") == {"a": {"b": [1]}, "c": 2}


def test_a_config_with_attributes_has_nothing_to_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a secret")
    for text in ("${oc.env:SECRET}", "\\${oc.env:SECRET}", "${b}", "${oc.create:{_target_:os.getcwd}}"):
        config = as_config({"a": {"text": text, "list": [text]}, "b": 3})
        assert config.a.text == text and config.a["list"][0] == text and config.b == 3
        OmegaConf.resolve(config)  # as instantiate does before it builds
        assert config.a.text == text and OmegaConf.to_container(config.a, resolve=True) == {
            "text": text,
            "list": [text],
        }
    assert isinstance(Text("x"), str) and "x" in Text("xy") and "${" not in Text("${")
