"""Licences and duplicates of what the binary is made of, from `cargo metadata` on standard input."""

import json
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


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
reached, queue = set(), [metadata["resolve"]["root"]]
while queue:
    node = queue.pop()
    if node in reached:
        continue
    reached.add(node)
    for dependency in nodes[node]["deps"]:
        # Tests and build scripts are not part of the binary, but their licences are checked too, on one level.
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]) or node == metadata["resolve"]["root"]:
            queue.append(dependency["pkg"])

problems, versions = [], defaultdict(set)
for node in reached:
    package = packages[node]
    name, licence = package["name"], package["license"]
    versions[name].add(package["version"])
    if not licence or not is_free(licence):
        problems.append(f"{name} {package['version']}: licence {licence or 'not given'}")
problems += [f"{name} is there in {len(versions[name])} versions" for name in ONCE if len(versions[name]) > 1]
problems += [f"{name} must not be part of it" for name in NEVER if versions[name]]
print(f"{len(reached)} packages, {sum(len(all) > 1 for all in versions.values())} of them in several versions")
if problems:
    sys.exit("\n".join(sorted(problems)))
