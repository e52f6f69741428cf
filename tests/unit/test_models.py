"""Names of models: published, local folders, folders of installed packages."""

import sys
from pathlib import Path

import pytest

from abhinaya.errors import UserError
from abhinaya.models import locate


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
