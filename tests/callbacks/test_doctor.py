"""Each problem is provoked in a tiny training and reported once. Healthy trainings are silent and unchanged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from frame.callbacks.checkpoints import read
from frame.callbacks.doctor import ADVICE, DIAGNOSES, SETTLED, STUCK, WON, Doctor, Lost, fewest_directions, moves
from frame.common.errors import UserError
from frame.evaluation.vital_signs import nearest_distance, nearest_means, repeatability, vital_signs
from frame.runs.folder import RunFolder
from tests.processes import OWN, Process, only_run, train
from tests.slow import slow_but
from tests.system.test_resume import same

SHORT = [
    "callbacks=null",
    "logging=[csv]",
    "checkpoint.every=null",
    "doctor.share=1",
    "doctor.check_every=50 iterations",
]
SMALL = ["params.encoder_channels=[8,8]", "params.decoder_channels=[8,8]", "params.residual_channels=[8]"]
FEW = [*SMALL, "params.batch_size=16"]
SMALL_GAN = ["params.generator_layers=[64]", "params.discriminator_layers=[64]"]
QUICK = "from frame.callbacks import doctor; doctor.WINDOW = 20"  # judges losses after 200 iterations, not 500


def trained(experiment: str, cwd: Path, words: Sequence[str], iterations: int) -> tuple[list[Any], str]:
    """The doctor's reports on a short training, and the command's output."""
    short = ["--config-dir", str(OWN / "config"), *SHORT, f"train_for={iterations} iterations"]
    process = Process(["train", f"experiment={experiment}", *short, *words], cwd, first=QUICK)
    assert process.wait() == 0, process.output
    return RunFolder.existing(only_run(cwd)).diagnoses, process.output


DEAD = ["params.revive_below=0", "params.commitment=0"]
STRONG = ["params.lr=0", "params.adversary_lr=2e-3"]
OFTEN = "doctor.check_every=10 iterations"
LOGGED = "trainer.log_every_n_steps=20"
# how it is provoked, iterations, and a part of the report
TROUBLES: dict[str, tuple[str, list[str], int, str]] = {
    "posterior collapse": ("digits_VAE", ["params.beta=100"], 300, "a smaller weight of the KL"),
    "dimensional collapse": ("digits_AE", ["params.encoder_layers=[1]"], 200, "lie in 1.0 directions"),
    "collapse of embeddings": ("digits_VICReg", ["params.variance=0", OFTEN], 200, "less and less"),
    "features worse than untrained": ("digits_LeJEPA", ["params.weight=0", "params.lr=1e-2", OFTEN], 250, "backbone"),
    "mode collapse": ("digits_GAN", ["params.adversary_lr=0", "params.lr=2e-3"], 500, "samples are all alike"),
    "dead codebook": ("digits_VQVAE", [*DEAD, OFTEN, *FEW], 40, "of 240 codes"),
    "the adversary has won": ("digits_GAN", [*STRONG, LOGGED, *SMALL_GAN], 250, "adversary_optimizer.lr"),
    "loss does not move": ("digits_Classifier", ["params.lr=0", LOGGED], 250, "larger learning rate"),
}
# at the default pace: codes of a codebook come into use after about 200 iterations
HEALTHY: dict[str, list[str]] = {
    "digits_VAE": [],
    "digits_Classifier": [],
    "digits_GAN": SMALL_GAN,
    "digits_VQVAE": SMALL,
    "digits_MIB": ["params.encoder_layers=[64]", "params.critic_layers=[64]"],
    "digits_VICReg": [],
    "digits_SimSiam": [],
}


@pytest.mark.parametrize("name", slow_but(("the adversary has won",), [*TROUBLES]))
def test_each_problem_is_reported_once_in_the_terminal_and_in_the_folder(name: str, tmp_path: Path) -> None:
    experiment, words, iterations, advice = TROUBLES[name]
    said, output = trained(experiment, tmp_path, words, iterations)
    mine = [entry for entry in said if entry["name"] == name]
    assert len(mine) == 1, said
    assert advice in mine[0]["text"] and mine[0]["signs"]
    assert output.count(f"{name}: {mine[0]['text']}") == 1, output
    process = Process(["show", str(only_run(tmp_path))], tmp_path)
    assert process.wait() == 0 and mine[0]["text"] in process.output


@pytest.mark.parametrize("experiment", slow_but(("digits_VAE",), [*HEALTHY]))
def test_a_healthy_run_is_silent(experiment: str, tmp_path: Path) -> None:
    said, output = trained(experiment, tmp_path, [*HEALTHY[experiment], "doctor.check_every=200 iterations"], 650)
    assert not said and "doctor, iteration" not in output


WATCHED: dict[str, list[str]] = {
    "tiny": [],
    "digits_VQVAE": FEW,
    "digits_GAN": SMALL_GAN,
}  # dropout; buffers written in the loss; two players


def test_the_end_of_a_problem_is_reported_once(tmp_path: Path) -> None:
    falls = "params.beta={_target_: frame.common.schedules.Linear, start: 100, end: 0.1, over: 100 iterations}"
    said, output = trained("digits_VAE", tmp_path, [falls, "params.lr=2e-3", OFTEN], 350)
    texts = [entry["text"] for entry in said if entry["name"] == "posterior collapse"]
    assert len(texts) == 2 and texts[1] == "over"
    assert output.count("no longer: posterior collapse") == 1


def test_watched_each_iteration_or_not_at_all_the_weights_are_the_same(tmp_path: Path) -> None:
    states: dict[tuple[str, str], Any] = {}
    for experiment, words in WATCHED.items():
        for doctor in (["doctor.check_every=1 iteration", "doctor.share=1"], ["doctor=null"]):
            cwd = tmp_path / f"{experiment}{len(states)}"
            cwd.mkdir()
            short = [f"experiment={experiment}", "logging=[csv]", "callbacks=null", "train_for=5 iterations"]
            code, output = train([*short, *words, *doctor], cwd)
            assert code == 0, output
            states[experiment, doctor[0]] = read(only_run(cwd) / "checkpoints" / "last.ckpt")
        watched, alone = (state for (name, _), state in states.items() if name == experiment)
        for key in ("model", "average", "players"):
            assert same(watched[key], alone[key])


@pytest.mark.slow
def test_a_whole_run_ends_in_the_same_bits_with_a_doctor_and_without(tmp_path: Path) -> None:
    """Evaluations, checkpoints and the doctor at its own pace, from the first iteration to the last."""
    ends = []
    for doctor in ("doctor.share=1", "doctor=null"):
        cwd = tmp_path / doctor
        cwd.mkdir()
        code, output = train(
            ["experiment=tiny", "train_for=450 iterations", "checkpoint.every=100 iterations", doctor], cwd
        )
        assert code == 0, output
        ends.append(read(only_run(cwd) / "checkpoints" / "last.ckpt"))
    assert [end["counters"]["iterations"] for end in ends] == [450, 450]
    unequal = {key for key in ends[0] if not same(ends[0][key], ends[1][key])}
    assert unequal <= {"callbacks", "counters", "events"}, unequal  # the doctor's state, and seconds
    values = [{name: event["values"] for name, event in end["events"].items()} for end in ends]
    assert values[0] == values[1] and values[0]


def test_a_resumed_run_repeats_nothing(tmp_path: Path) -> None:
    words = ["experiment=tiny", "params.beta=1000", "doctor.check_every=5 iterations", "doctor.share=1"]
    words += ["train_for=100 iterations", "+callbacks.breaker={_target_: toys.Breaker}"]
    code, output = train(words, tmp_path, BREAK="SIGKILL 93")
    assert code == -9 and output.count("posterior collapse") == 1, output
    code, output = train([f"resume={only_run(tmp_path)}"], tmp_path)
    assert code == 0 and "posterior collapse" not in output
    assert [entry["name"] for entry in RunFolder.existing(only_run(tmp_path)).diagnoses] == ["posterior collapse"]


@pytest.mark.parametrize(
    ("history", "answer"),
    [
        ([2.3] * 10, False),
        ([2.30, 2.31, 2.29, 2.30, 2.32, 2.30, 2.29, 2.31, 2.30, 2.30], False),
        ([2.3, 1.5, 1.2, 1.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True),  # a quick fall, then converged
        ([2.3 - 0.001 * i for i in range(10)], True),  # a slow one
        ([5.0, *[1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.1, 0.9]], True),  # all within the first window
        ([1.0 + 0.1 * i for i in range(10)], True),  # a coefficient rises
    ],
)
def test_a_loss_moves_or_does_not(history: list[float], answer: bool) -> None:
    assert moves(history) == answer


def test_noise_does_not_count_as_movement() -> None:
    torch.manual_seed(0)
    said = sum(moves(torch.randn(10).tolist()) for _ in range(1000))
    assert said < 100  # of a thousand


class Code(torch.nn.Module):
    """Means with the standard deviations `spreads` over rows, and noise of 1."""

    def __init__(self, spreads: Sequence[float]) -> None:
        super().__init__()
        self.spreads = torch.tensor(spreads)

    def encode(self, x: torch.Tensor) -> torch.distributions.Distribution:
        generator = torch.Generator().manual_seed(0)
        mean = torch.linalg.qr(torch.randn(len(x), len(self.spreads), generator=generator)).Q * len(x) ** 0.5
        return torch.distributions.Independent(torch.distributions.Normal(mean * self.spreads, 1.0), 1)


@pytest.mark.parametrize(
    ("spreads", "directions", "collapsed"),
    [
        ([30.0, 1.0, *[0.01] * 62], 2, False),  # a wide direction, as in many untrained networks, and one more
        ([30.0, 0.1, *[0.01] * 62], 1, True),
        ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 3, False),
        ([1.0, 0.01], 1, False),  # a small code, one latent switched off by noise
    ],
)
def test_the_directions_of_a_noisy_code_are_the_informative_ones(
    spreads: list[float], directions: int, collapsed: bool
) -> None:
    signs = vital_signs(Code(spreads), {"x": torch.zeros(256, 1)})
    assert signs["directions"] == directions
    assert (signs["directions"] < fewest_directions(signs)) == collapsed


class Embeds(torch.nn.Module):
    """A projector with dropout and a batch normalisation whose running statistics are not those of any batch."""

    def __init__(self) -> None:
        super().__init__()
        normalisation = torch.nn.BatchNorm1d(8)
        normalisation.running_mean = torch.full((8,), 5.0)  # all codes point nearly the same way by these
        self.projector = torch.nn.Sequential(torch.nn.Linear(3, 8), normalisation, torch.nn.Dropout(0.5))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.projector(x)
        return found


def test_embeddings_are_seen_as_the_loss_sees_them_and_running_statistics_stay() -> None:
    torch.manual_seed(0)
    model, x = Embeds().eval(), torch.randn(256, 3)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        signs = vital_signs(model, {"x": x, "views": [x, x]})
        assert signs == vital_signs(model, {"x": x, "views": [x, x]})  # no dropout
    h = model.projector[0](x)
    z = torch.nn.functional.normalize((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt(), dim=1)
    assert signs["spread"] == pytest.approx(z.std(0).mean().item() * 8**0.5, rel=1e-4) and signs["spread"] > 0.9
    assert signs["repeatability"] == pytest.approx(1)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert not any(part.training for part in model.modules())


def test_repeatability_is_the_share_of_variance_that_two_codes_have_in_common() -> None:
    torch.manual_seed(0)
    angles = torch.rand(20_000) * 2 * torch.pi
    turned = angles + torch.randn(20_000) * 0.5
    a, b = (torch.stack([t.cos(), t.sin()], 1).double() for t in (angles, turned))
    # |a - b|^2 = 2 - 2 cos(n), E cos(n) = exp(-0.5^2 / 2), and the total variance is 1
    assert repeatability(3 * a, b) == pytest.approx(torch.tensor(-0.125).exp().item(), abs=0.01)
    assert repeatability(a, a.roll(1, 0)) == pytest.approx(0, abs=0.02)
    assert repeatability(a, a) == pytest.approx(1)
    assert repeatability(torch.ones(5, 2), torch.ones(5, 2)) == 0


def test_the_signal_of_embeddings_is_compared_with_its_past_also_after_a_resume() -> None:
    doctor = Doctor()
    seen = [doctor.compared({"spread": spread, "repeatability": 0.5}) for spread in (0.2, 0.8, 0.4, 0.6)]
    assert ["signal_before" in signs for signs in seen] == [False, False, True, True]
    again = Doctor()
    again.load_state_dict(doctor.state_dict())
    signs = again.compared({"spread": 0.1})  # data without views
    assert (signs["signal"], signs["signal_before"], signs["signal_most"]) == (0.1, 0.2, 0.4)
    assert again.compared({"information": 1.0}) == {"information": 1.0}


def test_rows_are_told_apart_by_the_mean_of_the_others_of_their_class() -> None:
    torch.manual_seed(0)
    y = torch.tensor([0, 1, 2, 2, 7, 1, 0, 0, 1, 2, 2, 1])  # class 7 has one row
    codes = torch.randn(12, 3).double() + torch.nn.functional.one_hot(y % 3, 3)
    z = torch.nn.functional.normalize(codes - codes.mean(0), dim=1)
    right = 0
    for i in range(12):
        cosines = {}
        for c in {*y.tolist()}:
            others = [j for j in range(12) if y[j] == c and j != i]
            if others:
                cosines[c] = torch.cosine_similarity(z[i], z[others].mean(0), dim=0).item()
        right += int(y[i] != 7 and max(cosines, key=cosines.__getitem__) == y[i])
    assert nearest_means(codes, y) == pytest.approx(right / 11) and 3 < right < 11
    assert vital_signs(Embeds().eval(), {"x": torch.randn(5, 3), "y": torch.arange(5)}).get("told_apart") is None
    assert "told_apart" not in vital_signs(Embeds().eval(), {"x": torch.randn(5, 3), "y": torch.randn(5)})


def test_features_are_compared_with_the_untrained_ones_once_they_have_settled() -> None:
    doctor = Doctor()
    assert doctor.compared({"told_apart": 0.5}) == {"told_apart": 0.5}  # the untrained model was not seen
    doctor.begin({"told_apart": 0.6})
    seen = [doctor.compared({"told_apart": look / 100}) for look in range(1, SETTLED + 1)]
    assert all(len(signs) == 1 for signs in seen[:-1])
    assert seen[-1] == {"told_apart": 0.08, "told_apart_first": 0.6, "told_apart_before": 0.06}
    again = Doctor()
    again.load_state_dict(doctor.state_dict())
    signs = again.compared({"told_apart": 0.2})
    assert (signs["told_apart_first"], signs["told_apart_before"]) == (0.6, 0.07)
    lost = Lost().features
    for now, before, holds in ((0.51, 0.51, True), (0.51, 0.5, False), (0.53, 0.55, False)):
        assert lost({"told_apart": now, "told_apart_before": before, "told_apart_first": 0.6}) is holds


def test_a_problem_that_comes_back_is_reported_without_its_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    doctor, told = Doctor(patience=1), list[str]()
    monkeypatch.setattr(doctor, "tell", lambda name, text, *others: told.append(text))
    for information in (0.0, 1.0, 0.0):
        doctor.judge({"information": information, "n_latents": 4.0}, DIAGNOSES, None, 1)
    assert told[0].startswith("no latent") and "Try a smaller weight" in told[0]
    assert told[1:] == ["over", told[0].partition(". Try")[0]]
    assert all(ADVICE in diagnosis.text for diagnosis in (*DIAGNOSES, WON, STUCK))


def test_it_looks_at_shares_of_the_run(tmp_path: Path) -> None:
    words = ["params.beta=100", "doctor.check_every=10%", "doctor.patience=2"]
    said, _ = trained("digits_VAE", tmp_path, words, 150)
    assert said and all(entry["iteration"] % 15 == 0 for entry in said)


def test_nearest_distance() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # nearest: 1, 1, 2, 4
    assert nearest_distance(x) == 1.0  # the lower median


def test_errors() -> None:
    with pytest.raises(UserError, match="n_samples=8"):
        Doctor(n_samples=8)
    with pytest.raises(UserError, match="share=0"):
        Doctor(share=0)
    with pytest.raises(UserError, match="check_every"):
        Doctor(check_every="often")
