"""The documentation site: the pages of `docs/` with the architecture and the changelog, as plain files in `.local/site`.

It is built without anything from the network, and opens from the disk as well as from any web server.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline_contracts.problems import PROBLEMS, Mover, Problem
from pipeline_local_stack.paths import ROOT, StackError

PAGES = ROOT / "docs"
REASONS = PAGES / "guide" / "reasons.md"
SOURCE, SITE = ROOT / ".local" / "site-source", ROOT / ".local" / "site"
_BESIDE = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}
"""Pages at the repository's root, and what they are called on the site."""
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_MOVES = {
    Mover.BOOKKEEPER: "Whoever keeps invoices and customers in Pipeline",
    Mover.XERO_ADMIN: "Whoever may change settings in Xero",
    Mover.ACCOUNT_ADMIN: "An administrator of the account in Pipeline",
    Mover.SUPPORT: "Pipeline's support",
    Mover.SYSTEM: "Nobody: it goes on by itself",
}
_HEAD = """# Every reason, word by word

What Pipeline says of an invoice that is not in Xero yet, or not as it should be: the sentence, and the next step. Words in
these sentences such as "of this customer" are replaced by the name, number or date in question. The code is what programs
see, and what support will ask for. `make docs` writes this page from the code.
"""


def reasons_page() -> str:
    """`docs/guide/reasons.md`: each problem code in its own words, by whose move it is."""
    parts = [_HEAD]
    for mover, title in _MOVES.items():
        rows = [_row(problem) for problem in PROBLEMS.values() if problem.mover is mover]
        head = f"## {title}\n\n| code | what Pipeline says | the next step |\n|---|---|---|"
        parts.append("\n".join((head, *rows)) + "\n")
    return "\n".join(parts)


def _row(problem: Problem) -> str:
    words = problem.render()
    return f"| `{problem.code}` | {words.message} | {words.hint} |"


def assemble(target: Path) -> None:
    """Put the pages side by side in `target`, with links that lead to each other there.

    A link to a file that is no page of the site becomes its path: a reader of the site has no repository to open.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(PAGES, target)
    for name, called in _BESIDE.items():
        shutil.copyfile(ROOT / name, target / called)
    for page in target.rglob("*.md"):
        relative = page.relative_to(target)
        origin = next((ROOT / old for old, new in _BESIDE.items() if new == str(relative)), None)
        text = page.read_text("utf-8")
        page.write_text(_relinked(text, origin or PAGES / relative, relative), "utf-8")


def _relinked(text: str, origin: Path, page: Path) -> str:
    def follow(match: re.Match[str]) -> str:
        words, path, anchor = match[1], match[2], match[3] or ""
        meant = (origin.parent / path).resolve()
        if not meant.exists():
            return match[0]  # the build complains of it
        if meant.is_relative_to(PAGES) and meant.is_file():
            place = str(meant.relative_to(PAGES))
        elif meant.parent == ROOT and meant.name in _BESIDE:
            place = _BESIDE[meant.name]
        else:
            plain = str(meant.relative_to(ROOT))
            return f"`{plain}`" if words.strip("`") == plain else f"{words} (`{plain}`)"
        return f"[{words}]({os.path.relpath(place, page.parent)}{anchor})"

    return _LINK.sub(follow, text)


def build() -> Path:
    """Build the site anew; returns its first page.

    Raises:
        StackError: a page is linked that there is not, or a page has no place in the navigation.
    """
    assemble(SOURCE)
    shutil.rmtree(SITE, ignore_errors=True)
    ran = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if ran.returncode != 0:
        said = _COLOURS.sub("", ran.stdout + ran.stderr).partition("Traceback")[0]
        raise StackError(f"The documentation does not build:\n{said}")
    return SITE / "index.html"


if __name__ == "__main__":
    REASONS.write_text(reasons_page(), "utf-8")
    try:
        print(f"The documentation: {build()}")
    except StackError as error:
        sys.exit(str(error))
