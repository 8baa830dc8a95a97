"""Finds secrets, by the names of files and keys and by the form of services' keys."""

import fnmatch
import os
import re
from typing import Any

from frame.common.errors import UserError

FILES = (
    *(".env", ".env.*", ".env[-_]*", "*.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf"),
    *(".htpasswd", ".git-credentials", ".dockercfg", ".dockerconfigjson", "kubeconfig", "*.kubeconfig", ".boto"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.gpg", "*.asc", "*.tfstate"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*credential*", "*secret*", "*passwd*", "*password*"),
    *("*api[-_]key*", "*apikey*", "service[-_]account*.json", "kaggle.json", "terraform.tfvars"),
)
PLACES = (".ssh/*", ".aws/*", ".gnupg/*", ".kube/*", ".docker/config.json", "wandb/settings", ".azure/*")
# 'token' is a secret in a settings file, and a piece of text in code
TOKENS = ("*token", "*token.*", "*[-_.]token[-_.]*", "token[-_.]*", "*[-_.]tokens.*", "tokens.*", "*[-_.]tokens")
SOURCE = (".py", ".ipynb", ".pyx", ".cpp", ".cu", ".c", ".h", ".md", ".rst")
KEYS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22}"
    rb"|\bhf_[A-Za-z0-9]{30}|\bsk-(?:ant-|proj-)?[A-Za-z0-9_]{24}|\bxox[abprs]-[A-Za-z0-9-]{10}|\bglpat-[A-Za-z0-9_-]{20}"
    rb"|(?i:api_?key|secret|token|passw(?:or)?d)[A-Za-z_]*['\"]?\s*[=:]\s*['\"]?(?=[0-9A-Za-z_/+-]*[0-9])[0-9A-Za-z_/+-]{24}"
)

KEY_NAME = re.compile(
    r"(?:^|[_.-])(?:api_?key|access_?key|private_?key|secret(?:_?key)?|passw(?:or)?d|passphrase|credentials?"
    r"|(?:auth|access|api|hf|bearer|refresh)_?token)$",
    re.IGNORECASE,
)


def refuse_secrets(config: Any, path: str = "") -> None:
    """Refuses a config that holds a secret, because anybody who has the run's folder can read it.

    Raises:
        UserError: a key is named like a password and its text may be one; or a text looks like a service's key, or is
            the value of an environment variable with such a name.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            refuse_secrets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for i, value in enumerate(config):
            refuse_secrets(value, f"{path}.{i}")
    elif isinstance(config, str) and "${" not in config and _may_be_secret(path.rpartition(".")[2], config):
        raise UserError(
            f"{path} holds what looks like a key or a password, and everybody could read it in the run's folder: "
            "leave it out, and set it in the environment, where libraries look for it (WANDB_API_KEY)"
        )


def _may_be_secret(key: str, text: str) -> bool:
    if holds_a_key(text.encode(errors="replace")):
        return True
    if KEY_NAME.search(key):
        return len(text) >= 6 and not text.startswith(("/", "~", ".")) and " " not in text
    if key.lower() == "token" and re.fullmatch(r"[\w.-]{16,}", text):
        return True
    held = (value for name, value in os.environ.items() if KEY_NAME.search(name))
    return len(text) >= 12 and any(text == value for value in held)


def is_secret(path: str) -> bool:
    """Whether files of this name usually hold secrets."""
    path = path.lower()
    name = path.rpartition("/")[2]
    names = FILES if name.endswith(SOURCE) else (*FILES, *TOKENS)
    places = (f"*/{place}" for place in PLACES)
    return any(fnmatch.fnmatchcase(name, p) for p in names) or any(fnmatch.fnmatchcase(f"/{path}", p) for p in places)


def holds_a_key(content: bytes) -> bool:
    """Whether a file seems to hold a private key, a service's token or a password."""
    return KEYS.search(content) is not None
