"""Files and texts that hold secrets are distinguished from those that only sound like it."""

from pathlib import Path
from typing import Any

import pytest

from frame.common.confidential import holds_a_key, is_secret, refuse_secrets
from frame.common.errors import UserError
from tests.processes import train


def test_names_that_usually_hold_secrets() -> None:
    secret = """
        .env .env.local prod.env a/.ENV server.pem tls.KEY id_rsa id_ed25519.pub .netrc .npmrc .pypirc credentials
        credentials.json aws_credentials.csv wandb/settings .aws/config x/.ssh/config secrets.yaml my_secret.txt
        client_secret_1.json hf_token token.txt .token github-token.json passwords.csv api_key.txt apikey kaggle.json
        service-account.json secrets.py
    """.split()
    harmless = """
        tokenizer.py tokenizer.json tokenizer_config.json token_embedding.py tokens.py keys.py key.py environment.yml
        env.py settings.py config/data/images.yaml keyboard.md monkey.txt VAE.yaml wandb/settings.md README.md
        special_tokens_map.json
    """.split()
    assert [name for name in secret if not is_secret(name)] == []
    assert [name for name in harmless if is_secret(name)] == []


@pytest.mark.parametrize(
    "text, is_key",
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", True),
        ("WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567", True),
        ("wandb_api_key: 0123456789abcdef0123456789abcdef01234567", True),
        ("login(token='hf_abcdefghijklmnopqrstuvwxyzABCDEFGH')", True),
        ("key = 'AKIAIOSFODNN7EXAMPLE'", True),
        ("token = tokenizer.encode(a_text_that_is_rather_long)", False),
        ("secret: ${oc.env:A_SECRET_OF_THE_ENVIRONMENT_2}", False),
        ("api_key = os.environ['WANDB_API_KEY']", False),
        ("task-specific_layers_of_a_model_with_a_long_name_24 = 1", False),
    ],
)
def test_keys_are_recognized_by_their_form(text: str, is_key: bool) -> None:
    assert holds_a_key(text.encode()) == is_key


KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "config, where",
    [
        ({"logging": {"wandb": {"api_key": KEY}}}, "logging.wandb.api_key"),
        ({"callbacks": [{"mail": {"smtp_password": "hunter22"}}]}, "callbacks.0.mail.smtp_password"),
        ({"params": {"note": "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"}}, "params.note"),
        ({"data": {"token": KEY}}, "data.token"),
        ({"data": {"whatever": "a-password-of-mine"}}, "data.whatever"),  # a value of a secret environment variable
    ],
)
def test_a_config_with_a_secret_is_refused(config: Any, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "a-password-of-mine")
    with pytest.raises(UserError, match=f"^{where} holds") as caught:
        refuse_secrets(config)
    assert "\n" not in str(caught.value)


def test_other_configs_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "adam")
    refuse_secrets(
        {"optimization": "adam", "token": "cls", "api_key": None, "secret": "${oc.env:A_SECRET}", "n_tokens": 5}
    )
    refuse_secrets({"credentials": "/home/me/key.json", "tokenizer": "bert-base-uncased", "password": ""})


def test_a_key_on_the_command_line_is_written_nowhere(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "callbacks=null", f"+params.api_key={KEY}"], tmp_path)
    assert code == 2 and "params.api_key" in output and len(output.splitlines()) == 1, output
    assert not (tmp_path / "runs").exists()
