"""`python -m pipeline_local_stack.contract_docs [--write]`: renew what is published about the events, or compare it."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from pipeline_contracts.topics import DEAD_LETTER_TOPICS
from pipeline_local_stack.contract_docs.asyncapi import document, golden_examples
from pipeline_local_stack.contract_docs.html import page
from pipeline_local_stack.node_packages import installed
from pipeline_local_stack.paths import ROOT, StackError

FOLDER = ROOT / "docs" / "contracts"
GOLDEN = ROOT / "tests" / "contract" / "golden"
SCHEMAS = ROOT / "libs" / "contracts" / "schemas"
TYPESCRIPT = FOLDER / "typescript"
_FIX = "run `make contracts`"


class _Plain(yaml.SafeDumper):
    """YAML as people write it: texts of several lines as blocks, nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    style = "|" if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Plain.add_representer(str, _text)


def from_python() -> dict[Path, str]:
    """The texts that need nothing but Python, by file."""
    told = document(golden_examples(GOLDEN), DEAD_LETTER_TOPICS)
    written = yaml.dump(told, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    note = "# Generated from libs/contracts by `make contracts`; do not edit.\n"
    return {FOLDER / "asyncapi.yaml": note + written, FOLDER / "index.html": page(told)}


def types(npm: str) -> dict[Path, str]:
    """The TypeScript types, by file.

    Raises:
        StackError: npm or the generator failed.
    """
    packages = installed(npm, TYPESCRIPT)
    # Node looks for packages beside the file it runs, so the file goes where they are.
    script = shutil.copy(TYPESCRIPT / "generate.mjs", packages)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "events.d.ts"
        ran = subprocess.run(
            [shutil.which("node") or "node", script, SCHEMAS, made],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise StackError(f"the TypeScript types could not be made: {ran.stderr[-2000:]}")
        return {TYPESCRIPT / "events.d.ts": made.read_text(encoding="utf-8")}


def differences(texts: dict[Path, str]) -> Iterator[str]:
    """One sentence for each file that is not what the code says."""
    for path, text in texts.items():
        if not path.exists():
            yield f"{path.name} is missing: {_FIX}"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{path.name} is not what the code says: {_FIX}"


def main() -> int:
    """Write or compare; 0 if the files agree with the code afterwards."""
    parser = argparse.ArgumentParser(prog="pipeline_local_stack.contract_docs", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the files from the code")
    options = parser.parse_args()
    npm = shutil.which("npm")
    try:
        texts = from_python() | (types(npm) if npm else {})
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    if npm is None:
        print("LEFT OUT: the TypeScript types; install Node.js 20.19 or newer with npm.")
    if options.write:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    found = list(differences(texts))
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
