"""Licences and duplicates of what the program is made of: `cargo tree`, one package a line, on standard input.

    cargo tree --locked --edges no-dev --prefix none --format '{p}|{l}'
"""

import re
import sys
from collections import defaultdict

# Licences that ask for no more than their text.
FREE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "OpenSSL", "PostgreSQL", "Unicode-3.0",
    "Unlicense", "Zlib",
}
# Two of these in one binary are a mistake: two TLS stacks, two HTTP clients, two database drivers.
ONCE = {"sqlx-core", "rustls", "reqwest", "tokio", "hyper", "serde", "chrono", "clap", "aws-lc-rs"}
NEVER = {"openssl-sys", "native-tls", "ring"}


def is_free(expression: str) -> bool:
    """Whether a licence can be chosen from an SPDX expression that is free."""
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    words = [
        {"AND": "and", "OR": "or", "(": "(", ")": ")"}.get(token, str(token in FREE)) for token in tokens
    ]
    return bool(eval(" ".join(words), {"__builtins__": {}}))  # only True, False, and, or, ( and )


versions, problems = defaultdict(set), []
for line in sorted({line.strip().removesuffix(" (*)") for line in sys.stdin if "|" in line}):
    package, licence = line.split("|")
    name, version = package.split(" ")[:2]
    versions[name].add(version)
    if not licence or not is_free(licence):
        problems.append(f"{name} {version}: licence {licence or 'not given'}")
if len(versions) < 100:
    problems.append(f"only {len(versions)} packages were given: that is not the whole program")
problems += [f"{name} is there in {len(versions[name])} versions" for name in ONCE if len(versions[name]) > 1]
problems += [f"{name} must not be part of it" for name in NEVER if name in versions]
print(f"{len(versions)} packages, {sum(len(all) > 1 for all in versions.values())} of them in several versions")
if problems:
    sys.exit("\n".join(sorted(problems)))
