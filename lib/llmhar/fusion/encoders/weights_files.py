"""Where encoders' weights lie: fetched by URL and sha256, or brought by the user. Loads none of them.

``LLMHAR_CACHE/encoders/<name>/`` holds the files and ``weights.json`` (sha256, bytes and time of each as it was taken
in; written last, so its presence says that the set is whole). Files whose content is not known beforehand are named by
the sha256 that was computed when they came.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.data.download import download
from llmhar.data.load_report import DataError
from llmhar.data.registry import list_entries
from llmhar.fusion.encoders.encode import EncoderError
from llmhar.records import sha256_of
from llmhar.settings import choose

RECORD = "weights.json"


@dataclass(frozen=True)
class WeightFile:
    """One file of a set."""

    name: str
    """Where it lies in the set's folder; a file that is brought is known by its last part."""
    url: str = ""
    """Where it comes from; empty: only from the user."""
    sha256: str = ""
    """Of its bytes; empty: not known beforehand, so it is never downloaded but brought, and then named by its own."""
    content: str = ""
    """What it says, where we write it ourselves."""
    others: str = ""
    """Pattern of other names under which users have it, e.g. "*.pth"."""


@dataclass(frozen=True)
class Weights:
    """The files of one encoder."""

    title: str
    licence: str
    source: str
    """Where users find them, with the size."""
    files: tuple[WeightFile, ...]
    kind: str = "weights"


_CORAL = "https://raw.githubusercontent.com/google-coral/coralmicro/c9f665b0/models/"
_AUDIOSET = "https://raw.githubusercontent.com/tensorflow/models/master/research/audioset/yamnet/"
_GPT2 = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
WEIGHTS: dict[str, Weights] = {
    "yamnet": Weights(
        "YAMNet as TFLite (log-mel in, 521 scores out)",
        "Apache-2.0",
        "github.com/google-coral/coralmicro, models/ (4 MB); class map: github.com/tensorflow/models",
        (
            WeightFile("yamnet_spectra_in.tflite", _CORAL + "yamnet_spectra_in.tflite",
                       "0a266465c46718f3fcc4137366be82882a8c93bfcc4f0278581a11d11dddcdf9"),
            WeightFile("yamnet_class_map.csv", _AUDIOSET + "yamnet_class_map.csv",
                       "cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2"),
        ),
    ),
    "clapcap": Weights(
        "MS CLAP clapcap 2023 with GPT-2's vocabulary",
        "MS-PL; vocabulary: modified MIT (OpenAI)",
        "clapcap_weights_2023.pth (1.71 GB): huggingface.co/microsoft/msclap or zenodo.org/records/8378278",
        (
            WeightFile("clapcap_weights_2023.pth", others="*.pth"),
            # GPT-2 small is what GPT2Config makes unasked
            WeightFile("gpt2/config.json", content='{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}'),
            # hashes as tiktoken has them (tiktoken_ext/openai_public.py)
            WeightFile("gpt2/vocab.json", _GPT2 + "encoder.json",
                       "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", others="encoder.json"),
            WeightFile("gpt2/merges.txt", _GPT2 + "vocab.bpe",
                       "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", others="vocab.bpe"),
        ),
    ),
    "vggish": Weights(
        "VGGish with a classifier",
        "Apache-2.0 (VGGish); the classifier is the user's",
        "converted as the head of llmhar/fusion/encoders/vggish.py says (about 290 MB)",
        (WeightFile("vggish.safetensors", others="*.safetensors"), WeightFile("classes.json")),
    ),
}  # fmt: skip


def weights(name: str) -> Weights:
    """The set of this name.

    Raises:
        EncoderError: there is none; lists those there are.
    """
    return choose(WEIGHTS, name, f"no weights are called {name!r}; there are:", EncoderError)


def weights_folder(name: str) -> Path:
    """Where a set lies, whether it is there or not."""
    return paths.cache() / "encoders" / name


def revision(name: str) -> str:
    """sha256 that names a set: over the hashes of its files, as they were when they came.

    Cheap: a file is hashed again only where its size or time says that it was touched.

    Raises:
        EncoderError: not here, or changed since; says what to do.
    """
    folder, expected = weights_folder(name), weights(name)
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        hashes: dict[str, str] = {file.name: record[file.name]["sha256"] for file in expected.files}
    except (OSError, ValueError, KeyError):
        raise EncoderError(f"the weights of {expected.title} are not here: {cure(name)}") from None
    for file in hashes:
        if not _is_as_recorded(folder / file, record[file]):
            raise EncoderError(f"{folder / file} is not what was taken in: remove {folder}, then {cure(name)}")
    return sha256_of(hashes)


def located(name: str) -> Path:
    """Folder of a set that is here and unchanged.

    Raises:
        EncoderError: not here, or changed since; says what to do.
    """
    revision(name)
    return weights_folder(name)


def listing() -> list[dict[str, Any]]:
    """The encoders' weights in ``llmhar data list``."""
    return list_entries(WEIGHTS, weights_folder, lambda name: (weights_folder(name) / RECORD).is_file())


def cure(name: str) -> str:
    """How a user gets a set."""
    weights_set = WEIGHTS[name]
    by_hand = f"run: llmhar data add {name} FILE_OR_FOLDER (from {weights_set.source})"
    return by_hand if _brought(weights_set) else f"run: llmhar data fetch {name}, or {by_hand.removeprefix('run: ')}"


def fetch_weights(name: str) -> dict[str, str]:
    """Download what a set consists of, checked by sha256; a set that is here stays.

    Returns:
        File -> sha256.

    Raises:
        EncoderError: no network, other content than expected, or files that only the user can bring.
    """
    weights_set = weights(name)
    if missing := [file.name for file in _brought(weights_set) if not (weights_folder(name) / file.name).exists()]:
        raise EncoderError(f"{missing[0]} of {weights_set.title} has no address with a known sha256: {cure(name)}")
    return _install(name, {})


def add_weights(name: str, path: Path | str) -> dict[str, str]:
    """Take in weights that lie on this machine; what has an address and is not among them is downloaded.

    Args:
        name: key into :data:`WEIGHTS`.
        path: one file of the set, or a folder with several; copied, and left as it is.

    Returns:
        File -> sha256, to be noted for those whose content nobody knew beforehand.

    Raises:
        EncoderError: nothing of the set there, other content than expected, or something still missing.
    """
    weights_set, place = weights(name), Path(path).expanduser()
    if not place.exists():
        raise EncoderError(f"{place} does not exist: {cure(name)}")
    given = {file.name: match for file in weights_set.files if (match := _match(file, place))}
    if not given:
        wanted = " or ".join(Path(file.name).name for file in weights_set.files if not file.content)
        raise EncoderError(f"{place} holds nothing of {weights_set.title}: looked for {wanted}")
    return _install(name, given)


def _brought(weights_set: Weights) -> list[WeightFile]:
    return [file for file in weights_set.files if not (file.content or (file.url and file.sha256))]


def _match(file: WeightFile, place: Path) -> Path | None:
    """The file at a place that can only be this one."""
    plain_name = Path(file.name).name
    if place.is_file():
        return place if place.name == plain_name or (file.others and place.match(file.others)) else None
    for pattern in filter(None, (file.name, plain_name, file.others)):
        if len(hits := [hit for hit in sorted(place.glob(pattern)) if hit.is_file()]) == 1:
            return hits[0]
    return None


def _install(name: str, given: Mapping[str, Path]) -> dict[str, str]:
    """Bring every file of a set in place; the record is written last."""
    weights_set, folder = weights(name), weights_folder(name)
    for file in weights_set.files:  # all, before anything changes
        if file.name in given:
            _check(given[file.name], file)
    with paths.locked(folder.with_name(f".{name}.lock")):
        for file in weights_set.files:
            target = folder / file.name
            if file.name in given:
                with paths.replacing(target) as temporary:
                    shutil.copyfile(given[file.name], temporary)
            elif file.content:
                paths.write_text(target, file.content)
            elif file.url and file.sha256:
                _download(file, target, name)
            elif not target.exists():
                raise EncoderError(f"{target.name} is still missing: {cure(name)}")
        record = {file.name: _recorded(folder / file.name, file.url) for file in weights_set.files}
        paths.write_text(folder / RECORD, json.dumps(record, indent=1))
    return {file: str(entry["sha256"]) for file, entry in record.items()}


def _check(path: Path, file: WeightFile) -> None:
    if file.sha256 and (sha256 := paths.file_sha256(path)) != file.sha256:
        raise EncoderError(f"{path} is not {file.name}: its sha256 is {sha256}, expected {file.sha256}")


def _download(file: WeightFile, target: Path, name: str) -> None:
    try:
        download(target, file.sha256, [file.url], cure(name))
    except DataError as error:
        raise EncoderError(str(error)) from error


def _recorded(path: Path, url: str) -> dict[str, Any]:
    """What the record says of a file that has just come."""
    stat = path.stat()
    return {
        "sha256": paths.file_sha256(path), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "url": url
    }  # fmt: skip


def _is_as_recorded(path: Path, entry: Mapping[str, Any]) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    stamp = (stat.st_size, stat.st_mtime_ns)
    return stamp == (entry["bytes"], entry["modified_ns"]) or _hashed_once(path, stamp) == entry["sha256"]


@functools.lru_cache(maxsize=64)
def _hashed_once(path: Path, _stamp: tuple[int, int]) -> str:
    """Hash of a file as it is at this stamp: a revision is asked for every clip, and clapcap has 1.7 GB."""
    return paths.file_sha256(path)
