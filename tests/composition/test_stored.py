"""A run's config is resolved once and stored; later only plain values are filled in."""

import random
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from frame.composition.plain import as_yaml, parse_yaml
from frame.composition.stored import all_filled, escaped, filled, is_data_root, literal, pieces, resolved, stored
from tests.composition.test_plain import ALPHABET


def composed(more: dict[str, Any], *words: str) -> DictConfig:
    config = compose(["experiment=digits_VAE", *words])
    for key, value in more.items():
        OmegaConf.update(config, key, value, force_add=True)
    return config


def kept(more: dict[str, Any], *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config that is built, and the one that is read from the file."""
    config = composed(more, *words)
    plain = resolved(config)
    return plain, parse_yaml(as_yaml(stored(config, plain)))


def test_the_stored_config_is_the_one_that_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_ROOT", "/some/where")
    monkeypatch.setenv("PLACE", "below")
    note = "${device.data_root}/${oc.env:PLACE}/x"
    plain, read = kept({"data.note": note, "params.twice": "${params.z_dim}"}, "data=MNIST")
    assert all_filled(read) == plain and plain["params"]["twice"] == 8
    assert read["data"]["data_root"] == "${device.data_root}" and read["model"]["encoder"]["z_dim"] == 8
    assert read["data"]["note"] == "${device.data_root}/below/x" and read["data"]["download_files"] == (
        "${device.download_files}"
    )
    assert read["device"]["data_root"] == "${oc.env:DATA_ROOT,./data}" and read["seeds"]["init"] == 42
    monkeypatch.setenv("DATA_ROOT", "/else")
    assert filled(read, read["data"])["note"] == "/else/below/x"
    assert filled(read, read["data"])["download_files"] is True


@pytest.mark.parametrize("text", [r"\${oc.env:HOME}", r"\${device.data_root}", r"\\\${x} ${seed}", "a\\\\b"])
def test_escaped_references_stay_texts(text: str) -> None:
    plain, read = kept({"params.note": text})
    assert filled(read, read["params"]) == plain["params"] == literal(read["params"])
    again = OmegaConf.create(read)  # if the file is read with OmegaConf
    assert again.params.note == plain["params"]["note"]


def test_any_text_survives_escaping() -> None:
    drawn = random.Random(1)
    for _ in range(5000):
        text = "".join(drawn.choice(ALPHABET) for _ in range(drawn.randrange(12)))
        assert literal(escaped(text)) == text == filled({"device": {}}, escaped(text))


def test_a_users_resolver_is_replaced_by_its_value() -> None:
    OmegaConf.register_new_resolver("three", lambda: 3, replace=True)
    plain, read = kept({"params.n": "${three:}", "device.m": "${three:}", "params.m": "${device.m}"})
    assert plain["params"]["n"] == read["params"]["n"] == 3 and read["device"]["m"] == 3
    assert all_filled(read) == plain


DEVICE = {"a": "x", "n": 3, "flag": True, "deep": {"b": ["${device.a}", 1]}, "none": "${oc.env:NOT_THERE,null}"}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("${device.n}", 3),
        ("${device.flag}", True),
        ("${device.a}/${device.n}", "x/3"),
        ("${device.deep}", {"b": ["x", 1]}),
        ("${device.none}", None),
        ("\\${device.a}", "${device.a}"),
        ("\\\\${device.a}", "\\x"),
        ("{${device.a}}", "{x}"),
        ("${", "${"),
        ("${device.a", "${device.a"),
        ("$", "$"),
    ],
)
def test_references_to_the_device(written: str, wanted: object) -> None:
    assert filled({"device": DEVICE}, written) == wanted


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATA_ROOT", "SECRET", "FRAME_PLACE", "SCRATCH"):
        monkeypatch.setenv(name, f"value of {name}")

    def read(written: str, node: str = "${device.x}") -> Any:
        return filled({"device": {"x": written}}, node)

    assert read("${oc.env:DATA_ROOT}/a") == "value of DATA_ROOT/a" and read("${oc.env:FRAME_PLACE}")[-5:] == "PLACE"
    assert read("", "${oc.env:FRAME_PLACE}") == "value of FRAME_PLACE"  # an export's places
    assert read("${oc.env:SECRET,plain}") == "plain" and read("${oc.env:SECRET, 'a b'}") == "a b"
    assert read("${oc.env:NOWHERE,${oc.env:DATA_ROOT}}") == "value of DATA_ROOT"
    for written in ("${oc.env:SECRET}", "${oc.env:X,${oc.env:SECRET}}", "${oc.env:SCRATCH}"):
        with pytest.raises(
            UserError, match=r"device\.x asks for the environment variable S\w+, which a run may not read"
        ):
            read(written)
    with pytest.raises(UserError, match="FRAME_NOT, which is not set"):
        read("${oc.env:FRAME_NOT}")
    monkeypatch.setenv("SNEAKY", "${oc.env:SECRET}")
    monkeypatch.setenv("DATA_ROOT", "${oc.env:SECRET}")
    assert read("${oc.env:DATA_ROOT}") == "${oc.env:SECRET}"  # inserted text is not resolved again
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "mine.yaml").write_text("data_root: ${oc.env:SCRATCH}/data\n")
    monkeypatch.setattr(OwnFolder, "folder", tmp_path)
    monkeypatch.setenv("DEVICE_NAME", "mine")
    assert read("${oc.env:SCRATCH}") == "value of SCRATCH"
    assert is_data_root("value of SCRATCH/data/MNIST") and not is_data_root("value of SCRATCH/other")
    assert not is_data_root("/etc") and not is_data_root("~nobody_here/x") and not is_data_root("a\0")


@pytest.mark.parametrize(
    "inner", ["oc.create:{}", "oc.decode:'1'", "oc.select:seed", "seed", ".x", "hydra:job", "x y", ""]
)
def test_no_other_reference_is_resolved(inner: str) -> None:
    for node, device in ((f"a ${{{inner}}}", {}), ("${device.x}", {"x": f"${{{inner}}}"})):
        with pytest.raises(UserError, match="which a run does not resolve: not built"):
            filled({"device": device}, node)


def test_bombs_and_circles_are_refused() -> None:
    letters = "abcdefghij"
    for one in ("${device.%s}" * 10, ["${device.%s}"] * 10):
        device: dict[str, Any] = {"j": "x" * 50}
        for letter, following in zip(letters, letters[1:], strict=False):
            device[letter] = [text % following for text in one] if isinstance(one, list) else one % ((following,) * 10)
        with pytest.raises(UserError, match="more than"):
            filled({"device": device}, "${device.a}")
    for circle in ({"a": "${device.b}", "b": "${device.a}"}, {"a": ["${device}"]}):
        with pytest.raises(UserError, match="refers to itself"):
            filled({"device": circle}, "${device.a}")
    assert pieces("") == [""] and pieces("a${b}c") == ["a", ("b", "${b}"), "c"]


def test_a_reference_that_cannot_be_filled_in_is_one_line_before_training() -> None:
    config = composed({"params.note": "${oc.env:NOT_THERE}"})
    with pytest.raises(UserError, match=r"params\.note.*cannot be filled in: .*NOT_THERE") as caught:
        resolved(config)
    assert len(str(caught.value).splitlines()) == 1
