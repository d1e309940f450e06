"""Puts students into ``reports/record/students``, so that whoever has the repository need not train them again.

The same recipe and the same examples give a student's folder its name; one of that name in the record is taken instead
of a training (:func:`llmhar.distill.students.take_recorded`). What can be made again (lessons, merged weights,
checkpoints) is left out; so are weights of a student's own, which are too large: ``llmhar run --recorded`` knows such a
student by its recorded answers alone. Trains nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from llmhar import paths
from llmhar.ask.models import ModelError
from llmhar.ask.trained import LEFT_OUT, RECORD, read_record, recorded_home, weights_file
from llmhar.distill.students import KEPT, Student, copy_files, take_recorded


def record_student(student: Student) -> Path:
    """Copy a student's adapter into the record, its numbers rounded to bfloat16; returns where it lies.

    The student becomes the rounded one too, so that what lies there is what answers: a merge of before is made again.
    Of one with weights of its own all is copied but these.

    Raises:
        ModelError: a student of a later round, which needs the earlier one's weights.
    """
    if student.round != 1:
        raise ModelError(f"{student.name} goes on from another student's weights: not recorded")
    folder, target = student.folder, recorded_home() / student.folder.name
    with paths.locked(folder / ".lock"):
        record = read_record(folder)
        with paths.replacing_folder(target) as made:
            copy_files(folder, made, KEPT)
            if student.recipe.method != "lora":
                (made / RECORD).write_text(json.dumps(record | {LEFT_OUT: True}, indent=1), encoding="utf-8")
                return target
            round_adapter(weights_file(folder, "lora"), weights_file(made, "lora"))
            weights = weights_file(made, "lora")
            record |= {"weights_sha256": paths.file_sha256(weights), "weights_bytes": weights.stat().st_size}
            (made / RECORD).write_text(json.dumps(record | {"rounded_to": "bfloat16"}, indent=1), encoding="utf-8")
        take_recorded(folder)  # killed here, it is not whole, and opening it takes it from the record again
    return target


def round_adapter(weights: Path, target: Path) -> None:
    """Write an adapter with its numbers in bfloat16, as a file that everybody may read.

    Raises:
        ModelError: it holds numbers that are not finite; nothing was written.
    """
    import ml_dtypes
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(weights)
    if broken := [name for name, values in tensors.items() if not np.isfinite(values).all()]:
        raise ModelError(f"{weights}: {broken[0]} holds numbers that are not finite")
    rounded = {name: values.astype(ml_dtypes.bfloat16) for name, values in tensors.items()}
    save_file(rounded, target, metadata={"format": "pt"})
    target.chmod(0o644)
