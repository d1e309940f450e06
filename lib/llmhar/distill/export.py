"""Carries a student away: a folder that needs nothing of llmhar, in one of three formats, with its card.

Asks nobody, scores nothing. The folder is made beside its place and put there in one step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from llmhar import paths
from llmhar.ask.engines.weights import COPIED
from llmhar.ask.models import CARD_FACTS, MARKER, ModelError, ModelSpec
from llmhar.distill.cards import CARD, card_text, facts
from llmhar.distill.child import TrainingError
from llmhar.distill.gguf_writer import GgufType, write_gguf
from llmhar.distill.merging import merge
from llmhar.distill.quantise import WEIGHTS, quantise
from llmhar.distill.students import open_by_name
from llmhar.settings import choose

_TRANSFORMERS = """    from transformers import AutoModelForCausalLM, AutoTokenizer
    model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": WINDOW}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=512)[0, prompt["input_ids"].shape[1]:]))"""
_ONNX = """    import json, onnxruntime_genai as og
    model = og.Model(".")
    tokenizer, options = og.Tokenizer(model), og.GeneratorParams(model)
    options.set_search_options(max_length=2048, do_sample=False)
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": WINDOW}]
    prompt = tokenizer.apply_chat_template(json.dumps(chat), add_generation_prompt=True)
    generator = og.Generator(model, options)
    generator.append_tokens(tokenizer.encode(prompt))
    while not generator.is_done():
        generator.generate_next_token()
    print(tokenizer.decode(generator.get_sequence(0)))"""
_GGUF = """    llama-server -m {file} --port 8080      # llama.cpp: an OpenAI-compatible server
    ollama create {name} -f Modelfile       # Ollama; the Modelfile is one line: FROM ./{file}

    import openvino_genai                   # OpenVINO
    pipe = openvino_genai.LLMPipeline("{file}", "CPU")
    chat = openvino_genai.ChatHistory([{{"role": "system", "content": SYSTEM}}, {{"role": "user", "content": WINDOW}}])
    print(pipe.generate(chat, max_new_tokens=512).texts[0])"""


class Exported(NamedTuple):
    """A student that was carried away."""

    name: str
    format: str
    path: Path
    files: dict[str, dict[str, Any]]
    """File of weights -> its bytes and sha256."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return self._asdict() | {"path": str(self.path), "bytes": sum(file["bytes"] for file in self.files.values())}


def _safetensors(model: ModelSpec, folder: Path, _gguf_type: GgufType) -> str:
    _copy(_place(model), folder, [*COPIED, "config.json", "model*.safetensors", "*.safetensors.index.json"])
    return _TRANSFORMERS


def _onnx_int8(model: ModelSpec, folder: Path, _gguf_type: GgufType) -> str:
    _copy(_place(quantise(model, precision="int8")), folder, ["*"])
    return _ONNX


def _gguf(model: ModelSpec, folder: Path, gguf_type: GgufType) -> str:
    file = f"{model.name}-{gguf_type}.gguf"
    write_gguf(_place(model), folder / file, gguf_type, name=model.name, licence=model.licence)
    return _GGUF.format(file=file, name=model.name)


FORMATS: dict[str, Callable[[ModelSpec, Path, GgufType], str]] = {
    "safetensors": _safetensors,
    "onnx-int8": _onnx_int8,
    "gguf": _gguf,
}
"""Format -> what writes it into a folder; returns how it is run there."""


def export(name: str, to: Path, file_format: str, *, replace: bool = False, gguf_type: GgufType = "f16") -> Exported:
    """Write a student into a folder of its own. A LoRA student is merged first, where it was not yet.

    Args:
        name: the student's own, or its folder's.
        to: the folder; it is made.
        file_format: key into :data:`FORMATS`.
        replace: take the place of what is there.
        gguf_type: numbers in a GGUF file: f16 is the student that was scored, q8_0 half as large and slightly another.

    Raises:
        ModelError: no such student or format, something is at ``to`` already, an architecture that a format has no
            place for, or a merge or conversion that failed; what is at ``to`` stays as it was.
    """
    write = choose(FORMATS, file_format, f"unknown format {file_format!r}; there are:", ModelError)
    to = paths.given(to).absolute()
    _refuse_to_overwrite(to, replace=replace)
    student = open_by_name(name)
    try:
        model = merge(student)[0].model_copy(update={"name": student.name})
    except TrainingError as error:
        raise ModelError(str(error)) from error
    with paths.replacing_folder(to) as made:
        running = write(model, made, gguf_type)
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": paths.file_sha256(file)}
            for file in sorted(made.iterdir())
            if any(file.match(pattern) for pattern in (*WEIGHTS, "*.gguf"))
        }
        known = facts(student.folder) | {"format": file_format, "files": files}
        (made / CARD_FACTS).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        (made / CARD).write_text(card_text(student.folder, running, files), encoding="utf-8")
        (made / "LICENSE").write_text(_licence(model), encoding="utf-8")
    return Exported(student.name, file_format, to, files)


def _refuse_to_overwrite(to: Path, *, replace: bool) -> None:
    here = (Path.cwd(), Path.home(), paths.root(), paths.home(), paths.cache())
    if any(place.resolve().is_relative_to(to.resolve()) for place in here):
        raise ModelError(f"{to} holds more than an export; name a folder of its own")
    if to.exists() and not (to.is_dir() and not any(to.iterdir())) and not replace:
        raise ModelError(f"{to} is there already; name another folder, or take its place by --replace")


def _place(model: ModelSpec) -> Path:
    place = model.locate()
    if not isinstance(place, Path):
        raise ModelError(f"{model.name}'s weights are not here; run: llmhar models fetch {model.name}")
    return place


def _copy(source: Path, folder: Path, patterns: list[str]) -> None:
    """Copy files, each once; the marker of folders in the cache and in ``students`` is ours and stays."""
    for file in sorted({file for pattern in patterns for file in source.glob(pattern)}):
        if file.is_file() and file.name != MARKER:
            shutil.copy(file, folder / file.name)
            (folder / file.name).chmod(0o644)


def _licence(model: ModelSpec) -> str:
    note = (
        f"These weights are a changed version of {model.hub_id}, revision {model.revision.partition('+')[0]}:\n"
        f"fine-tuned by llmhar (README.md says how). Licence of the original: {model.licence or 'not recorded'}.\n"
    )
    text = paths.root() / "LICENSE"
    if model.licence == "Apache-2.0" and text.is_file():  # whose text it is: the same licence as this project's
        return f"{note}\n{text.read_text(encoding='utf-8')}"
    return note
