"""Converting a GGUF file (llama.cpp's format) to a transformers folder, which vLLM and peft can load."""

import shutil
import tempfile
import time
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError

DAY = 86400  # seconds


def gguf_file(folder: str | Path) -> str | None:
    """The name of the GGUF file in a folder without `config.json`; None if there is none.

    Raises:
        UserError: there are several.
    """
    folder = Path(folder)
    files = [] if (folder / "config.json").is_file() else sorted(path.name for path in folder.glob("*.gguf"))
    if len(files) > 1:
        raise UserError(f"{folder}: contains {len(files)} GGUF files ({', '.join(files)}); keep one per folder")
    return files[0] if files else None


def unpack(folder: str | Path, target: str | Path) -> Path:
    """Write the GGUF model in `folder` to `target`: float32 safetensors, tokenizer, chat template.

    An existing `target` is complete, since it is created by a rename, and is kept.

    Raises:
        UserError: there is no GGUF file, transformers cannot read it, or `target` cannot be written.
    """
    folder, target = Path(folder), Path(target)
    if target.is_dir():
        return target
    file = gguf_file(folder)
    if file is None:
        raise UserError(f"{folder}: no GGUF file found, or the folder also has a `config.json`; give another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            _convert(folder, file, Path(temporary, "model"))
            if not target.is_dir():  # unless another job has finished it
                files.put_in_place(Path(temporary, "model"), target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); free disk space there") from None
    return target


def _remove_stale(target: Path) -> None:
    """Remove temporary folders of killed conversions, which are more than a day old."""
    for path in target.parent.iterdir():
        with suppress(FileNotFoundError):  # removed by another job meanwhile
            if path.name.startswith(f".{target.name}.") and path.stat().st_mtime < time.time() - DAY:
                shutil.rmtree(path, ignore_errors=True)


def _convert(folder: Path, file: str, target: Path) -> None:
    # Imported here because transformers is slow to import and `gguf_file` does not need it.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from abhinaya.pretrained.loading import check_complete, loading

    with redirect_stderr(StringIO()):  # no progress bars in logs; warnings are logged separately
        with loading(f"{folder / file}: the model", local=True):
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
            loaded, report = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=file, dtype=torch.float32, output_loading_info=True
            )
        check_complete(str(folder / file), report["missing_keys"])
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
        model = type(loaded)(loaded.config)  # `loaded` cannot be saved, since its weights were quantised
        model.load_state_dict(loaded.state_dict())
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
