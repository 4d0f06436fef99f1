"""What mkdocs asks while it builds the site: pages from files beside docs/, and links to files.

The documents are written to be read in a checkout, where a link may lead to any file. On the site
README.md is the first page, documents elsewhere are pages of their own path, and any other file
that a document links to is shown on a page as it is.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
ELSEWHERE = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("studies/README.md", "studies/LOG.md", "benchmarks/RESULTS.md"),
)
"""Documents that lie beside docs/; their pages have the same paths."""
FILES = "files"
"""The folder of the site for files that are no documents."""
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
LANGUAGES |= {".sh": "bash", ".sql": "sql"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that no file of docs/ is."""
    texts = {f.src_uri: ROOT / "docs" / f.src_uri for f in files.documentation_pages()}
    for path in ELSEWHERE:
        texts[path] = ROOT / path
        files.append(File.generated(config, path, content=texts[path].read_text()))
    shown = set()
    for page, text in texts.items():
        links = LINK.finditer(FENCED.sub("", text.read_text()))
        shown |= {_of_the_checkout(page, link["target"]) for link in links} - {None}
    for path in sorted(filter(None, shown)):
        if _page(path).startswith(FILES):
            files.append(File.generated(config, _page(path), content=_as_it_is(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leads links to the pages that files have become; a dead one stays, and fails the build."""

    def led(match: re.Match[str]) -> str:
        path = _of_the_checkout(page.file.src_uri, match["target"])
        if path is None:
            return match[0]
        there = get_relative_url(_page(path), page.file.src_uri)
        return f"{match['before']}{there}{match['anchor'] or ''}{match['after']}"

    if page.file.src_uri.startswith(FILES):
        return markdown
    parts, end = [], 0
    for fenced in FENCED.finditer(markdown):
        parts += [LINK.sub(led, markdown[end : fenced.start()]), fenced[0]]
        end = fenced.end()
    return "".join([*parts, LINK.sub(led, markdown[end:])])


def _of_the_checkout(page: str, target: str) -> str | None:
    """The path of what a page links to, from the top of the checkout; None where nothing is."""
    origin = page if page in ELSEWHERE else f"docs/{page}"
    found = (ROOT / origin).parent.joinpath(target).resolve()
    if not found.exists() or not found.is_relative_to(ROOT):
        return None
    return found.relative_to(ROOT).as_posix()


def _page(path: str) -> str:
    """Where on the site a file of the checkout is."""
    name = PurePosixPath(path)
    if path in ELSEWHERE:
        return path
    if name.parts[0] == "docs" and name.suffix in (".md", ".png"):
        return name.relative_to("docs").as_posix()
    return f"{FILES}/{path}.md"


def _as_it_is(path: str) -> str:
    """A page with a file's text, or with those of a folder's files."""
    place = ROOT / path
    parts = [f"---\nsearch:\n  exclude: true\n---\n# {path}\n"]
    for file in sorted(place.iterdir()) if place.is_dir() else [place]:
        if file.is_file():
            title = f"## {file.name}\n\n" if place.is_dir() else ""
            language = LANGUAGES.get(file.suffix, "text")
            parts.append(f"{title}~~~~{language}\n{file.read_text()}\n~~~~\n")
    return "\n".join(parts)
