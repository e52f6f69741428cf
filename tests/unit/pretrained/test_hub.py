"""Names of models: published, local folders, folders of installed packages."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from abhinaya.pretrained import hub as models
from abhinaya.pretrained.hub import check_access, is_local, locate
from abhinaya.runtime.errors import UserError
from support.hub_server import COMMIT, TOKEN, Hub


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two folders; importing it would fail."""
    root = tmp_path / "some_models"
    for folder in ("tiny", "base/inner", "__pycache__"):
        (root / folder).mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "single.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_published_name_is_unchanged() -> None:
    assert locate("microsoft/wavlm-large") == "microsoft/wavlm-large"


def test_folder_of_a_package_is_found_without_importing_it(package: Path) -> None:
    assert locate("package:some_models/tiny") == str(package / "tiny")
    assert locate("package:some_models/base/inner") == str(package / "base" / "inner")
    assert locate("package:some_models") == str(package)
    assert "some_models" not in sys.modules


def test_local_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(str(tmp_path / "model")) == str(tmp_path / "model")
    assert Path(locate("./model")).samefile(tmp_path / "model")
    assert locate("~/model") == str(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:no_such_package/model", "'no_such_package'"),
        ("package:single/model", "'single'"),
        ("package:not-a-name/model", "'not-a-name'"),
        ("package:", "package ''"),
        ("package:some_models/large", "base, tiny"),
        ("package:some_models/../secret", "'../secret'"),
        ("package:some_models/__init__.py", "'__init__.py'"),
        ("./nowhere", "not found"),
        ("/nowhere/at/all", "not found"),
        ("~/nowhere_at_all", "not found"),
    ],
)
def test_invalid_name_is_reported_in_one_line(name: str, words: str, package: Path) -> None:
    with pytest.raises(UserError) as caught:
        locate(name)
    assert repr(name) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_and_published_names_are_distinguished() -> None:
    assert all(is_local(name) for name in ("package:some_models", "./model", "../model", "/model", "~/model"))
    assert not is_local("microsoft/wavlm-large")
    assert not is_local("gpt2")


COMPLETE = [
    ["config.json", "model.safetensors"],
    ["config.json", "pytorch_model.bin"],
    ["config.json", "a-1.safetensors", "a-2.safetensors", "model.safetensors.index.json"],
    ["tiny.gguf"],
]
INCOMPLETE = [
    ([], r"config\.json.*GGUF"),
    (["model.safetensors"], r"config\.json"),
    (["config.json"], r"\*\.safetensors, \*\.bin"),
    (["config.json", "tokenizer.json"], "weights"),
    (["config.json", "a-1.safetensors", "model.safetensors.index.json"], r"1 of 2 .*a-2\.safetensors"),
    (["a.gguf", "b.gguf"], "2 GGUF files"),
]


def fill(folder: Path, files: list[str]) -> Path:
    """Make `files`; an index lists two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        shards = {"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}
        (folder / name).write_text(json.dumps(shards) if name.endswith(".index.json") else "{}")
    return folder


@pytest.mark.parametrize("files", COMPLETE)
def test_complete_folder_is_accepted(files: list[str], tmp_path: Path, package: Path) -> None:
    check_access(str(fill(tmp_path / "model", files)), None)
    fill(package, files)
    check_access("package:some_models", "a revision that no folder has")


@pytest.mark.parametrize(("files", "words"), INCOMPLETE)
def test_incomplete_folder_is_reported(files: list[str], words: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "model", files)
    with pytest.raises(UserError, match=words) as caught:
        check_access(str(folder), None)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


# Prints the result or the message for each of the given names and revisions.
CHECK = """
import json, sys
from abhinaya.runtime.errors import UserError
from abhinaya.pretrained.hub import check_access
for name, revision in json.loads(sys.argv[1]):
    try:
        print("ok", check_access(name, revision))
    except UserError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.tokens = set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def check(requests: list[tuple[str, str | None]], home: Path, **variables: str) -> list[str]:
    """The output of `check_access` in a new process, since the hub's address is read at the start."""
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key[:3] != "HF_"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, json.dumps(requests)],
        env=clean
        | {"PYTHONPATH": str(Path(models.__file__).parents[2]), "HF_HOME": str(home), "HF_TOKEN": TOKEN}
        | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_access_to_published_models_is_checked(hub: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    requests = [
        ("org/open", None),
        ("org/open", COMMIT),
        ("org/gated", None),
        ("org/absent", None),
        ("org/open", "nowhere"),
        ("org/other", None),
        ("org/ill", None),
        ("a/b/c", None),
    ]
    answers = check(requests, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert answers[:2] == [f"ok {COMMIT}"] * 2
    for (name, _), answer, words in zip(
        requests[2:],
        answers[2:],
        [
            "licence",
            "correct the name",
            "revision 'nowhere'",
            "config.json",
            "no network connection",
            "private",
        ],
        strict=True,
    ):
        assert answer.startswith(f"model {name!r}: ")
        assert words in answer
    assert f"Bearer {TOKEN}" in hub.tokens  # sent, but never printed


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "no network connection"),  # no server
    ],
)
def test_local_cache_is_used_without_network(variables: dict[str, str], why: str, tmp_path: Path) -> None:
    for name, files in (("complete", COMPLETE[0]), ("partial", ["config.json"])):
        cached = tmp_path / "hub" / f"models--org--{name}"
        fill(cached / "snapshots" / COMMIT, files)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)
    requests = [
        ("org/complete", None),
        ("org/complete", COMMIT),
        ("org/partial", None),
        ("org/none", None),
        ("org/complete", "v2"),
    ]
    answers = check(requests, tmp_path, **variables)
    assert answers[:2] == [f"ok {COMMIT}"] * 2
    assert answers[2].startswith(f"model 'org/partial': {why}") and "weights" in answers[2]
    assert answers[3].startswith(f"model 'org/none': {why}")
    assert "`hf download org/complete --revision v2`" in answers[4]


@pytest.mark.parametrize("place", [0, 2**20 - 1, 2**20, 3 * 2**19, 3 * 2**20 - 1])
def test_digest_of_a_folder_changes_with_its_weights(place: int, tmp_path: Path) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    weights = tmp_path / "model" / "sub" / "model.safetensors"
    content = bytearray((2 if place == 2**20 else 3) * 2**20)
    weights.write_bytes(content)
    before = models.source_digest(str(tmp_path / "model"))
    assert len(before) == 64
    content[place] = 1  # of equal size
    weights.write_bytes(content)
    assert models.source_digest(str(tmp_path / "model")) != before


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "merges.txt", "tokenizer.model", "a.gguf"])
def test_digest_covers_every_file_of_a_model(name: str, tmp_path: Path) -> None:
    source_digests = {models.source_digest(str(tmp_path))}
    for content in ("one", "two", "three"):
        (tmp_path / name).write_text(content)
        source_digests.add(models.source_digest(str(tmp_path)))
    (tmp_path / name).rename(tmp_path / f"another{Path(name).suffix}")
    source_digests.add(models.source_digest(str(tmp_path)))
    assert len(source_digests) == 5


def test_digest_depends_on_the_content_only(package: Path, tmp_path: Path) -> None:
    fill(package / "tiny", COMPLETE[0])
    before = models.source_digest("package:some_models/tiny")
    os.utime(package / "tiny" / "config.json", (1, 1))
    (package / "tiny" / "__pycache__").mkdir()
    (package / "tiny" / "__pycache__" / "a.cpython-311.pyc").touch()
    (package / "tiny" / "__init__.py").touch()
    assert models.source_digest("package:some_models/tiny") == before
    shutil.copytree(package / "tiny", tmp_path / "copy")  # the same model elsewhere
    assert models.source_digest(str(tmp_path / "copy")) == before
    assert models.source_digest("org/published") is None


def test_digest_of_a_file_depends_on_its_content_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "beats.pt").write_bytes(b"one")
    before = models.source_digest(str(tmp_path / "beats.pt"))
    os.utime(tmp_path / "beats.pt", (1, 1))
    assert models.source_digest("~/beats.pt") == models.source_digest(str(tmp_path / "beats.pt")) == before
    (tmp_path / "beats.pt").write_bytes(b"two")
    assert models.source_digest("~/beats.pt") not in (None, before)


def test_file_is_hashed_once_per_process_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(Path(file.name)) or digest(file, name))
    monkeypatch.setattr(models, "MIN_AGE", 0)
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    names = [str(weights.parent), str(weights)]
    before = models.source_digests(names)
    for name in names:
        assert models.source_digest(name) == before[name]
    assert read == [weights]
    weights.write_bytes(b"two")
    os.utime(weights, ns=(0, 0))  # as a copy that keeps the time of another file
    assert models.source_digest(names[0]) != before[names[0]]
    assert read == [weights] * 2


@pytest.mark.parametrize("name", ["/nowhere/salmonn.pth", "./nowhere.pth", "nowhere.pth", "~/nowhere.pth"])
def test_missing_file_has_no_digest(name: str) -> None:
    """Only the loader knows whether a file or a folder is meant."""
    assert models.source_digest(name) is None
