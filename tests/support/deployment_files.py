"""What the Dockerfile, docker-compose.yml and deploy/kubernetes/ say, as plain values."""

from __future__ import annotations

import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from support.paths import ROOT

Yaml = dict[str, Any]

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
ENTRYPOINT = ["weightsearch"]  # of the image; a test holds it against the Dockerfile


@functools.cache
def compose() -> Yaml:
    """As `docker compose config` would show it on a machine that sets no variable."""
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    assert not re.findall(r"(?<!\$)\$(?!\$)", plain), "a variable without a default"
    found: Yaml = yaml.safe_load(plain.replace("$$", "$"))
    return found


def services() -> dict[str, Yaml]:
    found: dict[str, Yaml] = compose()["services"]
    return found


def ours() -> dict[str, Yaml]:
    """The services that run our image."""
    return {name: s for name, s in services().items() if s["image"].startswith("weightsearch:")}


def command(service: Yaml) -> list[str]:
    """The whole command line of a service of ours."""
    return [*service.get("entrypoint", ENTRYPOINT), *service["command"]]


def service_environment(service: Yaml) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


@functools.cache
def documents() -> list[tuple[str, Yaml]]:
    """Each resource of Kubernetes, with the name of its file."""
    return [
        (file.name, found)
        for file in MANIFESTS
        for found in yaml.safe_load_all(file.read_text())
        if found["kind"] != "Kustomization"
    ]


def pods() -> dict[str, Yaml]:
    """The pods that Jobs, Deployments and StatefulSets make, by the name of what makes them."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for _, found in documents()
        if "template" in found.get("spec", {})
    }


def container(pod: Yaml) -> Yaml:
    (only,) = pod["containers"]
    return dict(only)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()))
    return [
        (name, rest) for line in joined.splitlines() if line for name, rest in [line.split(None, 1)]
    ]


def image(name: str) -> Any:
    """The last instruction of that name, read as JSON where it is."""
    rest = [rest for found, rest in instructions() if found == name][-1]
    return json.loads(rest) if rest.startswith("[") else rest


def image_environment() -> dict[str, str]:
    """What the last ENV sets."""
    return dict(pair.split("=", 1) for pair in shlex.split(image("ENV")))


def documented(page: Path) -> list[list[str]]:
    """The commands of ours that a page runs in a container, as they come to run there."""
    found = []
    for line in re.findall(
        r"^    (?:[A-Z_]+=\S+ )*((?:docker|kubectl) .*)$", page.read_text(), re.M
    ):
        words = shlex.split(line)
        if words[:3] == ["docker", "compose", "run"]:
            name, *rest = [w for w in words[3:] if w not in ("--rm", "--detach")]
            service = services()[name]
            found.append([*service.get("entrypoint", ENTRYPOINT), *(rest or service["command"])])
        elif words[0] == "kubectl" and "exec" in words:
            found.append(words[words.index("--") + 1 :])
    return found
