"""Keys and tokens in text that is to be published: formats that are known, and the values of this process's own.

A short list. It finds what has a format of its own; a password in a sentence it does not find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# Every repetition is bounded where a match can fail behind it, so that no text makes this slow.
FORMATS = {
    "private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
    "Anthropic key": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "OpenAI key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "PyPI token": r"\bpypi-AgEI[A-Za-z0-9_-]{50,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,}",
    "password in a URL": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{1,100}:[^\s/@\"']{3,200}@[A-Za-z0-9\[]",
    "authorization header": r"(?i:authorization)[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?i:bearer|basic)\s{1,9}[\w.~+/=-]{16,}",
}
# Each format has one of these in it: a line without any is passed over, which is ten times faster.
SIGNS = (
    "PRIVATE KEY", "sk-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "AKIA", "ASIA",
    "AIza", "xox", "k_live_", "npm_", "pypi-AgEI", "eyJ", "://", "uthorization", "AUTHORIZATION",
)  # fmt: skip
NAMES = list(FORMATS)
PATTERN = re.compile("|".join(f"({pattern})" for pattern in FORMATS.values()))
OWN = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
LEAST_OWN = 12  # characters: shorter values are words


class Finding(NamedTuple):
    """Something that looks like a secret: what, and in which line (from 1). Its value is never kept."""

    line: int
    kind: str


def own_values(environment: Mapping[str, str]) -> dict[str, str]:
    """Values of variables that hold keys, and the variables' names."""
    return {value: name for name, value in environment.items() if OWN.search(name) and len(value) >= LEAST_OWN}


def scan(lines: Iterable[str], own: Mapping[str, str]) -> Iterator[Finding]:
    """All that looks like a secret; `own` is of `own_values`."""
    for number, line in enumerate(lines, start=1):
        for match in PATTERN.finditer(line) if any(sign in line for sign in SIGNS) else ():
            yield Finding(number, NAMES[match.lastindex - 1 if match.lastindex else 0])
        for value, name in own.items():
            if value in line:
                yield Finding(number, f"the value of {name}")
