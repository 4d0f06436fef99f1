"""The documents as a site: built without a dead link, and nothing of it fetched from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from support.paths import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")

OWN = "docs/building"
PAGES = {f.relative_to(ROOT / "docs").as_posix() for f in (ROOT / "docs").glob("*.md")}
MKDOCS = shutil.which("mkdocs", path=Path(sys.executable).parent) or "mkdocs"


def build(checkout: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: warnings that are not logged are not counted either.
    return subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", str(site)],
        cwd=checkout,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_document_is_a_page_that_the_navigation_leads_to(site: Path) -> None:
    elsewhere = {"CHANGELOG.md", "CONTRIBUTING.md", "studies/LOG.md", "benchmarks/RESULTS.md"}
    first = (site / "index.html").read_text()
    for page in PAGES | elsewhere | {"studies/index.md"}:
        assert (site / page).with_suffix(".html").is_file()
        assert f'href="{page.removesuffix(".md")}.html"' in first


def test_files_that_documents_link_to_are_shown(site: Path) -> None:
    shown = (site / "files" / "docs" / "examples" / "own_network.py.html").read_text()
    assert "own_network.py" in shown
    assert 'href="files/docs/examples/own_network.py.html"' in (
        site / "own-objective.html"
    ).read_text().replace("./", "")
    manifests = (site / "files" / "deploy" / "kubernetes.html").read_text()
    assert "kustomization.yaml" in manifests


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"<(?:link|script|img|iframe|source)\b[^>]*?\b(?:href|src)=\"?([^\s\">]+)|url\((https?:[^)]+)"
    )
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        for found in loaded.findall(file.read_text()):
            place = urlsplit("".join(found))
            assert (place.scheme in ("", "data"), place.netloc) == (True, ""), (file.name, found)


def test_the_api_says_each_public_name_with_its_docstring(site: Path) -> None:
    import weightsearch

    page = (site / "api.html").read_text()
    for name in weightsearch.__all__:
        # Errors stand under their own names. Of an attribute's heading, space is a part.
        is_error = getattr(weightsearch, name) in vars(weightsearch.errors).values()
        heading = name if is_error else rf"ws\.{name}"
        assert re.search(rf">\s*{heading}\s*<", page), name
    assert "Plans a study or resumes it, and runs it in the background" in page
    assert "Metres (h, w), float32" in page


def test_dead_links_fail_the_build(tmp_path: Path) -> None:
    """In a checkout of two documents, by the same settings."""
    checkout = tmp_path / "checkout"
    (checkout / "docs").mkdir(parents=True)
    shutil.copytree(ROOT / OWN, checkout / OWN)
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (checkout / name).write_text("# One\n")
    for name in ("studies/README.md", "studies/LOG.md", "benchmarks/RESULTS.md"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("# One\n")
    (checkout / "docs" / "answer.md").write_text("# The answer\n")
    links = "[a](gone.md) [b](answer.md#nowhere) [c](../studies/lost.toml) [d](../README.md#one)"
    (checkout / "docs" / "page.md").write_text(f"# A page\n\n{links}\n")
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0]
    settings = re.sub(r"  - mkdocstrings:.*?(?=^\w)", "", settings, flags=re.M | re.S)
    (checkout / "mkdocs.yml").write_text(settings)
    built = build(checkout, tmp_path / "site")
    assert built.returncode == 1
    assert built.stderr.count("WARNING") == 3
    for dead in ("gone.md", "#nowhere", "lost.toml"):
        assert dead in built.stderr


def test_the_settings_fetch_no_font_and_check_anchors() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert settings["theme"]["font"] is False
    assert set(settings["validation"]["links"].values()) == {"warn"}
