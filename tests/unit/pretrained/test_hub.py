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


def test_a_published_name_stays_itself() -> None:
    assert locate("microsoft/wavlm-large") == "microsoft/wavlm-large"


def test_a_folder_of_a_package_is_found_without_running_it(package: Path) -> None:
    assert locate("package:some_models/tiny") == str(package / "tiny")
    assert locate("package:some_models/base/inner") == str(package / "base" / "inner")
    assert locate("package:some_models") == str(package)
    assert "some_models" not in sys.modules


def test_a_local_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate(str(tmp_path / "model")) == str(tmp_path / "model")
    assert Path(locate("./model")).samefile(tmp_path / "model")
    assert locate("~/model") == str(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:no_such_package/model", "no Python package 'no_such_package'"),
        ("package:single/model", "no Python package 'single'"),
        ("package:not-a-name/model", "no Python package 'not-a-name'"),
        ("package:", "no Python package ''"),
        ("package:some_models/large", "it has base, tiny"),
        ("package:some_models/../secret", "no folder '../secret'"),
        ("package:some_models/__init__.py", "no folder"),
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("~/nowhere_at_all", "no such folder"),
    ],
)
def test_a_wrong_name_is_told_in_one_line(name: str, words: str, package: Path) -> None:
    with pytest.raises(UserError) as caught:
        locate(name)
    assert repr(name) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_told_from_a_published_name() -> None:
    assert all(is_local(name) for name in ("package:some_models", "./model", "../model", "/model", "~/model"))
    assert not is_local("microsoft/wavlm-large")
    assert not is_local("gpt2")


WHOLE = [
    ["config.json", "model.safetensors"],
    ["config.json", "pytorch_model.bin"],
    ["config.json", "a-1.safetensors", "a-2.safetensors", "model.safetensors.index.json"],
    ["tiny.gguf"],
]
PARTS = [
    ([], "has neither config.json nor a GGUF file"),
    (["model.safetensors"], "has neither config.json"),
    (["config.json"], r"has no weights \(\*.safetensors, \*.bin\)"),
    (["config.json", "tokenizer.json"], "has no weights"),
    (["config.json", "a-1.safetensors", "model.safetensors.index.json"], "lacks 1 of the 2 files .*a-2.safetensors"),
    (["a.gguf", "b.gguf"], "2 GGUF files"),
]


def fill(folder: Path, files: list[str]) -> Path:
    """Make `files`; an index tells of two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        shards = {"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}
        (folder / name).write_text(json.dumps(shards) if name.endswith(".index.json") else "{}")
    return folder


@pytest.mark.parametrize("files", WHOLE)
def test_a_whole_folder_passes(files: list[str], tmp_path: Path, package: Path) -> None:
    check_access(str(fill(tmp_path / "model", files)), None)
    fill(package, files)
    check_access("package:some_models", "a revision that no folder has")


@pytest.mark.parametrize(("files", "words"), PARTS)
def test_a_folder_that_is_no_whole_model_is_told(files: list[str], words: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "model", files)
    with pytest.raises(UserError, match=words) as caught:
        check_access(str(folder), None)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


# Prints, for each of the models given as name and revision, what is told of it.
CHECK = """
import json, sys
from abhinaya.runtime.errors import UserError
from abhinaya.pretrained.hub import check_access
for name, revision in json.loads(sys.argv[1]):
    try:
        print("well", check_access(name, revision))
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


def told(asked: list[tuple[str, str | None]], home: Path, **variables: str) -> list[str]:
    """What `check_access` tells in a process of its own, for the hub's address is read at its start."""
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key[:3] != "HF_"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, json.dumps(asked)],
        env=clean
        | {"PYTHONPATH": str(Path(models.__file__).parents[2]), "HF_HOME": str(home), "HF_TOKEN": TOKEN}
        | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_hub_is_asked_for_a_published_model(hub: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    asked = [
        ("org/open", None),
        ("org/open", COMMIT),
        ("org/gated", None),
        ("org/absent", None),
        ("org/open", "nowhere"),
        ("org/other", None),
        ("org/ill", None),
        ("a/b/c", None),
    ]
    answers = told(asked, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert answers[:2] == [f"well {COMMIT}"] * 2
    for (name, _), answer, words in zip(
        asked[2:],
        answers[2:],
        [
            "its licence is not accepted; accept it on the model's page, then log in",
            "not published, or private; correct the name",
            "has no revision 'nowhere'; correct it",
            "has no config.json",
            "no answer from the network, and the copy in the local cache is not whole",
            "not published, or private",
        ],
        strict=True,
    ):
        assert answer.startswith(f"model {name!r}: ")
        assert words in answer
    assert f"Bearer {TOKEN}" in hub.tokens  # it was sent, and shown nowhere


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "no answer from the network"),  # nobody is there
    ],
)
def test_without_the_network_the_local_cache_counts(variables: dict[str, str], why: str, tmp_path: Path) -> None:
    for name, files in (("whole", WHOLE[0]), ("half", ["config.json"])):
        cached = tmp_path / "hub" / f"models--org--{name}"
        fill(cached / "snapshots" / COMMIT, files)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)
    asked = [("org/whole", None), ("org/whole", COMMIT), ("org/half", None), ("org/none", None), ("org/whole", "v2")]
    answers = told(asked, tmp_path, **variables)
    assert answers[:2] == [f"well {COMMIT}"] * 2
    assert answers[2].startswith(f"model 'org/half': {why}, and the copy in the local cache has no weights")
    assert answers[3].startswith(
        f"model 'org/none': {why}, and the copy in the local cache is not whole; fetch it once"
    )
    assert "`hf download org/whole --revision v2`" in answers[4]


@pytest.mark.parametrize("place", [0, 2**20 - 1, 2**20, 3 * 2**19, 3 * 2**20 - 1])
def test_the_stamp_of_a_folder_changes_with_its_weights(place: int, tmp_path: Path) -> None:
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
def test_the_stamp_counts_every_file_of_a_model(name: str, tmp_path: Path) -> None:
    source_digests = {models.source_digest(str(tmp_path))}
    for content in ("one", "two", "three"):
        (tmp_path / name).write_text(content)
        source_digests.add(models.source_digest(str(tmp_path)))
    (tmp_path / name).rename(tmp_path / f"another{Path(name).suffix}")
    source_digests.add(models.source_digest(str(tmp_path)))
    assert len(source_digests) == 5


def test_the_stamp_of_the_same_model_is_the_same(package: Path, tmp_path: Path) -> None:
    fill(package / "tiny", WHOLE[0])
    before = models.source_digest("package:some_models/tiny")
    os.utime(package / "tiny" / "config.json", (1, 1))
    (package / "tiny" / "__pycache__").mkdir()
    (package / "tiny" / "__pycache__" / "a.cpython-311.pyc").touch()
    (package / "tiny" / "__init__.py").touch()
    assert models.source_digest("package:some_models/tiny") == before
    shutil.copytree(package / "tiny", tmp_path / "copy")  # the same model elsewhere
    assert models.source_digest(str(tmp_path / "copy")) == before
    assert models.source_digest("org/published") is None


def test_the_stamp_of_a_file_is_that_of_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "beats.pt").write_bytes(b"one")
    before = models.source_digest(str(tmp_path / "beats.pt"))
    os.utime(tmp_path / "beats.pt", (1, 1))
    assert models.source_digest("~/beats.pt") == models.source_digest(str(tmp_path / "beats.pt")) == before
    (tmp_path / "beats.pt").write_bytes(b"two")
    assert models.source_digest("~/beats.pt") not in (None, before)


def test_a_file_is_read_once_in_a_process_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(Path(file.name)) or digest(file, name))
    monkeypatch.setattr(models, "SETTLED", 0)
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
def test_what_is_not_there_has_no_stamp(name: str) -> None:
    """Whether a file or a folder is meant, only its loader can tell."""
    assert models.source_digest(name) is None
