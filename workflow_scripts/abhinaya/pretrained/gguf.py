"""A model in one GGUF file, llama.cpp's format, as a plain transformers folder that vLLM serves and peft trains."""

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
    """The name of the one GGUF file in a folder without `config.json`; None where there is none.

    Raises:
        UserError: several.
    """
    folder = Path(folder)
    files = [] if (folder / "config.json").is_file() else sorted(path.name for path in folder.glob("*.gguf"))
    if len(files) > 1:
        raise UserError(f"{folder}: holds {len(files)} GGUF files ({', '.join(files)}); leave one in a folder")
    return files[0] if files else None


def unpack(folder: str | Path, target: str | Path) -> Path:
    """Write the GGUF model in `folder` to `target`: float32 safetensors, tokenizer, chat template.

    A `target` that is there is finished, for it appears by a rename, and is left as it is.

    Raises:
        UserError: no GGUF file, or one that transformers cannot read; `target` cannot be written.
    """
    folder, target = Path(folder), Path(target)
    if target.is_dir():
        return target
    file = gguf_file(folder)
    if file is None:
        raise UserError(f"{folder}: holds no GGUF file, or a `config.json` beside it; give another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean(target)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
            _convert(folder, file, Path(beside, "model"))
            if not target.is_dir():  # another job may have been faster
                files.put_in_place(Path(beside, "model"), target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); free some space there") from None
    return target


def _clean(target: Path) -> None:
    """Remove what unpackings that were killed have left beside `target`; one under way is never a day old."""
    for path in target.parent.iterdir():
        with suppress(FileNotFoundError):  # another job has just finished with it
            if path.name.startswith(f".{target.name}.") and path.stat().st_mtime < time.time() - DAY:
                shutil.rmtree(path, ignore_errors=True)


def _convert(folder: Path, file: str, target: Path) -> None:
    # Imported late: who only asks for a file's name need not wait for transformers.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with redirect_stderr(StringIO()):  # its progress bars would fill a log; its warnings have their own way there
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
            read, report = AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=file, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, NotImplementedError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"{folder / file}: cannot be read ({reason}); get the whole file again or another"
            ) from None
        if report["missing_keys"]:
            raise UserError(f"{folder / file}: lacks weights, {sorted(report['missing_keys'])[0]} for one; get another")
        if hasattr(read.config, "quantization_config"):
            del read.config.quantization_config
        whole = type(read)(read.config)  # `read` refuses to be saved, for it came from quantised weights
        whole.load_state_dict(read.state_dict())
        whole.save_pretrained(target)
        tokenizer.save_pretrained(target)
