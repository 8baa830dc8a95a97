"""Config files of many editors are read completely, or refused with the file and the line."""

from pathlib import Path

import pytest

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.config_files import NODES, checked, load
from frame.composition.folders import use_own_folder
from frame.composition.settings import check_parts, check_read

EXPERIMENT = """# @package _global_
defaults:
  - /model: AE
  - /data: digits
  - /optimization: batch_ADAM
architectures:
  encoder: {_target_: frame.architectures.bidirectional.Encoder, shape: [1, 8, 8], z_dim: 4, layers: [8]}
  decoder: {_target_: frame.architectures.base.MLPDecoder, shape: [1, 8, 8], z_dim: 4, layers: [8]}
params: {lr: 1e-3, batch_size: 64}
train_for: 3 iterations
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for group in ("experiment", "model", "data", "optimization", "device", "logging", "debug"):
        (tmp_path / "config" / group).mkdir(parents=True)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.chdir(tmp_path)
    use_own_folder(tmp_path / "config")
    return tmp_path / "config"


def composed(*words: str) -> None:
    config = compose(words)
    check_read(config)
    check_parts(config)


@pytest.mark.parametrize(
    "content",
    [
        EXPERIMENT.encode(),
        b"\xef\xbb\xbf" + EXPERIMENT.encode(),  # Notepad
        EXPERIMENT.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + EXPERIMENT.replace("\n", "\r\n").encode(),
        EXPERIMENT.replace("\n", "\r").encode(),  # old Macs
        b"\n\n" + EXPERIMENT.encode(),
        EXPERIMENT.replace("# @package _global_", "#@package   _global_  ").encode(),
        EXPERIMENT.rstrip("\n").encode(),
    ],
    ids=["plain", "mark", "crlf", "mark and crlf", "cr", "blank first", "spaces", "no end"],
)
def test_files_of_all_editors_are_read_completely(content: bytes, own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_bytes(content)
    config = compose(["experiment=mine"])
    check_parts(config)
    assert config.train_for == "3 iterations" and config.params.lr == 1e-3 and "experiment" not in config


HEADERS = [
    (EXPERIMENT.split("\n", 1)[1], "write `# @package _global_` as the first line"),
    ("# my experiment\n" + EXPERIMENT, "line 2: write `# @package _global_` as the first line"),
    (EXPERIMENT.replace("_global_", "_GLOBAL_"), "line 1: write `# @package _global_`, spelt like that"),
    (EXPERIMENT.replace("_global_", "global"), "line 1: write `# @package _global_`, spelt like that"),
    (EXPERIMENT.replace("@package", "@packge"), "write `# @package _global_` as the first line"),
    (EXPERIMENT.replace("# @package _global_", "# package _global_"), "line 1: write `# @package _global_`, spelt"),
    (EXPERIMENT.replace("_global_", "experiment"), "write `# @package _global_` as the first line"),
    ("defaults: []\n" + EXPERIMENT.replace("defaults", "params"), "line 2: write `# @package _global_` as the first"),
    ("", "write `# @package _global_` as the first line"),
]


@pytest.mark.parametrize(("text", "says"), HEADERS)
def test_an_experiment_whose_keys_would_go_elsewhere_is_refused(text: str, says: str, own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        composed("experiment=mine")
    assert str(error.value).startswith("config/experiment/mine.yaml") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "words", "says"),
    [
        ("debug/mine.yaml", "train_for: 1 iterations\n", ["debug=mine"], "as the first line"),
        ("model/mine.yaml", "# @package _global_\n_target_: a.B\n", ["model=mine"], "moves _target_ out of 'model'"),
        ("model/mine.yaml", "model: {_target_: a.B}\n", ["model=mine"], "model has no _target_"),
        ("data/mine.yaml", "data:\n  _target_: a.B\n", ["data=mine"], "data has no _target_"),
        ("optimization/mine.yaml", "", ["optimization=mine"], "no optimization"),
        ("optimization/mine.yaml", "target: a.B\n", ["optimization=mine"], "line 1: write _target_ in place of target"),
        ("model/mine.yaml", "__target__: a.B\n", ["model=mine"], "line 1: write _target_ in place of __target__"),
        ("device/mine.yaml", "# @package _global_\ngpus: 0\n", ["device=mine"], "no key 'gpus'"),
        ("device/mine.yaml", "device: {gpus: 0}\n", ["device=mine"], "device.device: no key of device 'device'"),
        ("logging/mine.yaml", "# @package _global_\nmine: {_target_: a.B}\n", ["logging=mine"], "no key 'mine'"),
        ("logging/mine.yaml", "mine: {project: a}\n", ["logging=mine"], "logging.mine has no _target_"),
        ("experiment/mine.yml", EXPERIMENT, ["experiment=mine"], "rename it to mine.yaml"),
        ("experiment/mine.YAML", EXPERIMENT, ["experiment=mine"], "rename it to mine.yaml"),
        ("experiment/Mine.yaml", EXPERIMENT, ["experiment=mine"], "did you mean 'Mine'?"),
    ],
)
def test_files_of_other_groups_are_read_completely_or_refused(
    file: str, text: str, words: list[str], says: str, own: Path
) -> None:
    (own / file).write_text(text)
    with pytest.raises(UserError) as error:
        composed(*([] if "experiment" in file else ["experiment=digits_VAE"]), *words)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("train_fro: 3 epochs\n", "no key 'train_fro': did you mean 'train_for'"),
        ("checkpoint: {evry: 3 epochs}\n", "checkpoint.evry: no key of checkpoint 'evry': did you mean 'every'"),
        ("seeds: {dta: 3}\n", "did you mean 'data'"),
        ("device: {gpu: 0}\n", "device.gpu: no key of device 'gpu': did you mean 'gpus'"),
        ("settings: {a: 1}\n", "no key 'settings'"),
        ("doctor: {patiense: 1}\n", ""),
        ("seed: 08\n", "line 11: YAML may read 08 as an octal number: write 8 or '08'"),
        ("callbacks: {a: {name: b}}\n", "callbacks.a has no _target_"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(added: str, says: str, own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text(EXPERIMENT + added)
    if not says:
        composed("experiment=mine")  # an argument of a constructor, which frame.composition.checks refuses
        return
    with pytest.raises(UserError) as error:
        composed("experiment=mine")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_a_reference_reads_may_be_anywhere(own: Path) -> None:
    added = EXPERIMENT.replace("z_dim: 4", "z_dim: '${sizes.z}'").replace("lr: 1e-3", "lr: '${.base}', base: 1e-3")
    (own / "experiment" / "mine.yaml").write_text(added + "sizes: {z: 4}\n")
    composed("experiment=mine")


def test_an_unread_parameter_of_a_file_is_refused(own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text(EXPERIMENT.replace("lr: 1e-3", "lr: 1e-3, batchsize: 3"))
    with pytest.raises(UserError, match="params.batchsize is read by nothing: did you mean params.batch_size"):
        composed("experiment=mine")


def test_an_exchanged_part_drops_parameters_that_only_the_former_read() -> None:
    config = compose(["experiment=digits_VAE", "model=AE"])
    check_read(config)
    assert "beta" not in config.params and "prior" not in config.architectures
    with pytest.raises(UserError, match="no key 'params.beta'"):
        check_read(compose(["experiment=digits_VAE", "model=AE", "params.beta=3"]))


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{former}'] * 9)}]\n" for former, key in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = [
    ("a:\n\tb: 1\n", "line 2: a tab: YAML is indented by spaces"),
    ("a: 'b\nc: d\n", "line 3: found unexpected end of stream while scanning a quoted scalar, which begins on line 1"),
    ('a: "b\nc: d\n', "which begins on line 1"),
    ("a: [1, 2\nb: 3\n", "line 2"),
    ("a: 1\nb: 2\na: 3\n", "line 3: the key a occurs twice"),
    ("a: {b: 1, b: 2}\n", "line 1: the key b occurs twice"),
    ("- a\n- b\n", "line 1: it holds a list instead of keys"),
    ("5\n", "line 1: it holds '5' instead of keys"),
    ("text alone", "it holds 'text alone' instead of keys"),
    ("a: 010\n", "YAML may read 010 as an octal number: write 10 or '010'"),
    ("a: 1:30:00\n", "YAML reads 1:30:00 as a number in base 60"),
    ("a: 0x1F\n", "write 0x1F as a decimal number"),
    ("yes: 3\n", "YAML does not read the key yes as a text"),
    ("a: \u201cb\u201d\n", "quotes of a web page"),
    ("a: b\u00a0c\n", "a space of a web page"),
    ("a: &x [*x]\n", "an anchor (&) contains its own alias (*)"),
    ("a: &x {b: *x}\n", "an anchor (&) contains its own alias (*)"),
    (BOMB, f"its aliases (*) make more than {NODES:,} values of it"),
    ("a: !!python/object/apply:os.system ['ls']\n", "line 1"),
    ("a: !mine 3\n", "a config takes no YAML tag such as !mine"),
    ("? [a, b]\n: 3\n", "a key is a list or a mapping"),
    ("a: ${b}\n{c}: 3\n", "line 2"),
    ("<<: 3\na: 1\n", "<< takes the alias of a mapping"),
    ("a: *nowhere\n", "line 1: found undefined alias"),
    ("a: 1\n---\nb: 2\n", "line 2"),
    ("a: @b\n", "line 1"),
    ("a: b: c\n", "line 1: mapping values are not allowed"),
    ("a: 1\n b: 2\n", "line 2"),
]


@pytest.mark.parametrize(("text", "says"), YAML, ids=range(len(YAML)))
def test_an_error_in_yaml_is_one_line_with_its_number(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        checked(text, tmp_path / "a.yaml")
    assert says in str(error.value) and "a.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: 1\n".encode("utf-16"), "save it as UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "save it as UTF-8"),
        ("# a\nname: Gr\u00f6\u00dfe\n".encode("latin-1"), "line 2: a character that is not UTF-8"),
        (b"a: \0\n", "not a text"),
        (b"a: \x07\n", "line 1"),
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"a: [" + b"1, " * 200_000 + b"1]\n", "is longer than"),
    ],
)
def test_files_that_are_not_text_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(UserError) as error:
        load(tmp_path / "a.yaml")
    assert says in str(error.value) and "a.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ("defaults: /model\n", "defaults is a list"),
        ("defaults: {/model: VAE}\n", "defaults is a list"),
        ("defaults:\n  - /model: VAE\n    /data: digits\n", "names one group"),
        ("defaults:\n  - [/model]\n", "an entry of defaults is a list"),
        ("defaults:\n  - 3\n", "an entry of defaults names files"),
        ("defaults:\n  - /model: {a: b}\n", "an entry of defaults names files"),
        ("defaults:\n  - /modle: VAE\n", "modle"),
        ("defaults:\n  - /model: VEA\n", "no model 'VEA': did you mean 'VAE'"),
        ("defaults:\n  - override /data: digits\n", "mine.yaml: there is no data to override"),
        ("defaults:\n  - mine\n", ""),
    ],
)
def test_an_invalid_defaults_list_is_refused(defaults: str, says: str, own: Path) -> None:
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\n" + defaults)
    with pytest.raises(UserError) as error:
        composed("experiment=mine")
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("seed=1e3", "seed=1000.0: a seed is a whole number"),
        ("seed=-1", "a seed is a whole number"),
        ("seed=true", "wants a number"),
        ("seed=9223372036854775808", "a seed is a whole number"),
        ("seeds.noise=null", "a seed is a whole number"),
        ("trainer=null", "trainer=null: it has keys below it"),
        ("seeds=3", "it has keys below it"),
        ("data_rows=abc", "data_rows=abc: write a whole number"),
        ("data_rows=0", "write a whole number"),
        ("data_rows=1.5", "write a whole number"),
        ("experiment_name=''", "it names the run's folder"),
        ("experiment_name=../../x", "it names one folder"),
        ("experiment_name=..", "it names the run's folder"),
        ("device.memory_for_data=lots", "give an amount such as 8 GB"),
        ("device.num_workers=-1", "write a whole number from 0 to 512"),
        ("device.num_workers=1000000", "write a whole number from 0 to 512"),
        ("device.gpus=true", "or auto"),
        ("device.gpus=-1", "or auto"),
        ("device.download_files=maybe", "wants a truth"),
        ("device.experiments_root=null", "write the path of a folder"),
        ("device.experiments_root=''", "write the path of a folder"),
        ("checkpoint.every='0 seconds'", "is not above 0"),
        ("checkpoint.every='nan epochs'", "is not a duration"),
        ("checkpoint.every='1e400 epochs'", "out of all bounds"),
        ("train_for='1e-300 epochs'", "out of all bounds"),
        ("train_for=null", "is not a duration"),
        ("checkpoint.best=3", "the name of a measurement"),
        ("checkpoint.mode=up", "no choice 'up'"),
        ("weights=null", "no choice"),
        ("params.lr=nan", "params.lr=nan: write a finite number"),
        ("params.lr=inf", "params.lr=inf: write a finite number"),
        ("+params.bta=1", "no key 'params.bta'"),
        (
            "+architectures.encoderr.layers=1",
            "architectures.encoderr is read by nothing: did you mean architectures.enc",
        ),
        ("+hydra.nope=1", "hydra.searchpath alone is read"),
        ("hydra.run.dir=x", "hydra.searchpath alone is read"),
        ("model=VAE,AE", "model: a run has one value of it"),
        ("+callbacks.x=5", "callbacks.x has no _target_"),
        ("callbacks=5", "callbacks=5: it has names below it"),
        ("doctor=5", "doctor has no _target_"),
        ("device=null", "name a file of config/device/: local, workstation"),
        ("model=null", "name a file of config/model/"),
        ("~checkpoint", "checkpoint is missing"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5: write a whole number"),
        ("trainer.max_steps=true", "trainer.max_steps=True: write a whole number"),
        ("trainer.max_time=3600", "write DD:HH:MM:SS"),
        ("+trainer.max_time={hour: 1}", ""),
    ],
)
def test_each_setting_of_our_own_has_its_type_and_range(typed: str, says: str) -> None:
    if not says:
        composed("experiment=digits_VAE", typed)
        return
    with pytest.raises(UserError) as error:
        composed("experiment=digits_VAE", typed)
    assert says in str(error.value) and "\n" not in str(error.value)
