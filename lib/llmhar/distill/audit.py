"""What was this student trained on? Checks of the batches it got and of the files it left. Trains and asks nothing.

Known ways for fine-tuning to go wrong in silence: loss on the prompt, rows whose labels are all ignored (unsloth #2771,
#2900, #3041), a training template that spoils thinking blocks (TRL #6361), test sessions among the examples, another
tokenizer at inference, merged weights that answer differently. Each has a check here, independent of the others.
Looked at are recorded batches, which the trainer draws from all of a training (older ones recorded the first alone),
and a random sample of the examples that none of them holds, put into tokens anew.
Prompts are rendered a second time, by :mod:`llmhar.text.chat`, so that the trainer is not its own witness.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError

from llmhar import paths
from llmhar.ask.engines.worker import THINK
from llmhar.ask.models import ModelError
from llmhar.ask.trained import LEFT_OUT, weights_file
from llmhar.distill.courses import Course
from llmhar.distill.examples import Completion, Example, completion_of, data_hash
from llmhar.distill.students import Student
from llmhar.distill.study import TaughtStudent
from llmhar.distill.traces import Trace
from llmhar.records import sha256_of
from llmhar.text.chat import ChatTokenizer

IGNORED = -100
"""Label of a token that carries no loss (PyTorch's convention); not the trainer's own constant, which is audited."""
MAX_LOGIT_DIFF = 1e-2
"""Largest difference between logits of adapter and merged weights, in float32; rounding stays below 1e-3."""
N_FURTHER = 256
"""Examples at most that are looked at beside those in recorded batches."""
LEAST_PROMPTS = 16
"""Prompts on which adapter and merged weights must have been compared."""
_MARKS = re.compile(r"</?think>")
_WHOLE: tuple[list[str], ...] = ([], [THINK, "</think>"], ["</think>"])
"""Marks of a whole answer: none, one block, or (the prompt may have opened it) its end."""


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    passed: bool | None
    """None: not run, for there was nothing to compare with."""
    detail: str
    """What was compared, with n; where it failed, the first fault."""


class AuditError(ValueError):
    """A student whose training data are not what they should be."""


class Finding(NamedTuple):
    """What a check function says."""

    passed: bool | None
    detail: str


class Row(NamedTuple):
    """One row of a batch, as the model got it."""

    where: str
    ids: list[int]
    labels: list[int]
    mask: list[int]
    prompt: int | None
    """Tokens of the prompt; None where no example has it."""
    candidates: tuple[Example, ...]
    """Examples with this prompt: several where a window was sampled several times."""
    recorded: bool = True
    """False: put into tokens anew, from an example that no recorded batch holds."""

    @property
    def length(self) -> int:
        """Tokens that are no padding."""
        return sum(self.mask)

    @property
    def with_loss(self) -> list[int]:
        """Places whose label is not ignored."""
        return [i for i, label in enumerate(self.labels) if label != IGNORED]


class Reader(ChatTokenizer):
    """The parent's tokenizer and template, with what rows are compared with."""

    @property
    def end_text(self) -> str:
        """Text of the end-of-turn token."""
        return self.special["eos_token"]

    @property
    def end(self) -> int | None:
        """Its id."""
        return self.tokenizer.token_to_id(self.end_text)

    def opening(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The generation prompt: what the template puts between the last message and the answer."""
        return self.render(messages).removeprefix(self.render(messages, asking=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def taught_text(self, example: Example) -> str:
        """The completion, without the mark of thinking where the template has written it, as the trainer."""
        opened = self.render(example.messages).rstrip().endswith(THINK)
        return example.completion.removeprefix(THINK) if opened else example.completion

    def answers(self, example: Example) -> set[str]:
        """What the labels of this example must read: the completion as the tokenizer spells it, and the end token."""
        text = self.taught_text(example)
        normalizer = self.tokenizer.normalizer  # Qwen3's composes accents (NFC)
        return {text + self.end_text, (normalizer.normalize_str(text) if normalizer else text) + self.end_text}


@dataclass(frozen=True)
class Case:
    """A student and what it is compared with; files are read when a check asks for them."""

    student: Student
    test_sessions: Mapping[str, Collection[str]]
    traces: Sequence[Trace] = ()
    merged: Mapping[str, Any] | None = None
    test_prompts: Collection[str] = ()
    completion: Completion = "reasoning"
    n_batches: int = 64
    n_further: int = N_FURTHER

    @cached_property
    def examples(self) -> list[Example]:
        """What the student says it was trained on."""
        return self.student.examples

    @cached_property
    def reader(self) -> Reader:
        """Tokenizer and template of the parent.

        Raises:
            ModelError: they are not on this machine.
        """
        place = self.student.parent.locate()
        if not isinstance(place, Path):
            raise ModelError(f"{self.student.parent.name}'s tokenizer is not here")
        return Reader(place, self.student.spec.template_args)

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of recorded batches, each with the examples whose prompt it begins with; then of further examples."""
        by_prompt: dict[tuple[int, ...], list[Example]] = {}
        prompts = [self.reader.render(example.messages) for example in self.examples]
        for example, encoded in zip(
            self.examples, self.reader.tokenizer.encode_batch(prompts, add_special_tokens=False)
        ):
            by_prompt.setdefault(tuple(encoded.ids), []).append(example)
        lengths = sorted({len(prompt) for prompt in by_prompt}, reverse=True)
        rows = []
        for number, batch in enumerate(self.student.batches[: self.n_batches]):
            for k, (ids, labels, mask) in enumerate(
                zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
            ):
                prompt = next((n for n in lengths if n < sum(mask) and tuple(ids[:n]) in by_prompt), None)
                candidates = () if prompt is None else tuple(by_prompt[tuple(ids[:prompt])])
                rows.append(Row(f"batch {batch.get('batch', number)} row {k}", ids, labels, mask, prompt, candidates))
        return rows + self._further_rows(by_prompt, {id(one) for row in rows for one in row.candidates})

    def _further_rows(self, by_prompt: Mapping[tuple[int, ...], Sequence[Example]], held: Collection[int]) -> list[Row]:
        """A random sample of the examples that no recorded row holds, as the trainer must have put them into tokens.

        Args:
            by_prompt: tokens of a prompt -> its examples.
            held: ``id`` of each example that a recorded row may hold.
        """
        left = [(prompt, one) for prompt, several in by_prompt.items() for one in several if id(one) not in held]
        draw = random.Random(self.student.record["data_sha256"])
        rows = []
        for prompt, one in draw.sample(left, min(self.n_further, len(left))):
            text = self.reader.taught_text(one)
            answer = [*self.reader.tokenizer.encode(text, add_special_tokens=False).ids, self.reader.end or 0]
            ids, labels = [*prompt, *answer], [IGNORED] * len(prompt) + answer
            if len(ids) <= self.student.recipe.max_tokens:  # longer ones are left out of the training
                where = f"{one.dataset} {one.session_id} window {one.window_index}"
                rows.append(Row(where, ids, labels, [1] * len(ids), len(prompt), (one,), recorded=False))
        return rows


def _each_row(case: Case, what: str, fault: Callable[[Case, Row], str]) -> Finding:
    """A finding over all rows; none at all is a failure, for nothing was shown."""
    n_recorded = sum(row.recorded for row in case.rows)
    if not n_recorded:
        return Finding(False, "no batch was recorded")
    faults = [f"{row.where}: {why}" for row in case.rows if (why := fault(case, row))]
    wrong = f"; {len(faults)} wrong, the first: {faults[0]}" if faults else ""
    further = len(case.rows) - n_recorded
    shown = f"{n_recorded} rows" + (f", and {further} of examples in no recorded batch" if further else "")
    return Finding(not faults, f"{shown}: {what}{wrong}")


def _label_fault(case: Case, row: Row) -> str:
    if row.prompt is None:
        return "no example has this prompt as the template renders it"
    places = [i for i in row.with_loss if row.prompt <= i < row.length]  # what lies elsewhere is the mask's business
    if not places:
        return ""
    labels = [row.labels[i] for i in places]
    if labels != [row.ids[i] for i in places]:
        return "labels differ from the tokens at their places"
    if labels[-1] != case.reader.end or labels.count(case.reader.end) > 1:
        return f"{case.reader.end_text} is not the last token and only there"
    text = case.reader.decode(labels)
    same = any(text in case.reader.answers(example) for example in row.candidates)
    return "" if same else f"labels read {text[:60]!r} …, which no example with this prompt says"


def check_labels(case: Case) -> Finding:
    """Labels equal the tokens at their places and read as the teacher's answer with the end-of-turn token."""
    return _each_row(case, "labels decoded and compared with the examples' completions", _label_fault)


def _mask_fault(case: Case, row: Row) -> str:
    if row.mask != [1] * row.length + [0] * (len(row.mask) - row.length):
        return "padding is not at the right end alone"
    places = row.with_loss
    if not places:
        return ""
    if places[-1] >= row.length:
        return "padding carries loss"
    if places != list(range(places[0], row.length)):
        return "the tokens with loss are not one run up to the row's end"
    if row.prompt is not None and places[0] != row.prompt:
        return f"loss begins at token {places[0]}, the answer at token {row.prompt}"
    opening = case.reader.opening(case.examples[0].messages)
    before = case.reader.decode(row.ids[: places[0]])
    return "" if before.endswith(opening) else f"the text before the loss does not end with {opening!r}"


def check_mask(case: Case) -> Finding:
    """Loss is on one run of tokens, from behind the generation prompt to the row's end: not on prompt or padding."""
    return _each_row(case, "ignored labels compared with prompt, generation prompt and padding", _mask_fault)


def check_loss(case: Case) -> Finding:
    """Every row has loss."""
    return _each_row(case, "counted tokens with loss", lambda _, row: "" if row.with_loss else "no token carries loss")


def _thinking_fault(case: Case, row: Row) -> str:
    marks = _MARKS.findall(case.reader.decode(row.ids[: row.length]))
    taught = [_MARKS.findall(case.reader.opening(e.messages) + case.reader.taught_text(e)) for e in row.candidates]
    wanted = [own for own in _WHOLE if own in taught or not taught]
    shown = " or ".join(" ".join(own) or "none" for own in wanted)
    return "" if marks in wanted else f"thinking marks: {' '.join(marks) or 'none'}; wanted: {shown}"


def check_thinking(case: Case) -> Finding:
    """The thinking marks of template and teacher, in the whole row: one block, a closing mark alone, or none."""
    return _each_row(case, "thinking marks counted", _thinking_fault)


def check_traces(case: Case) -> Finding:
    """Completions are the teacher's texts (or their answers alone) as the store has them.

    The same text may have been asked for again since.
    """
    if not case.traces:
        return Finding(None, "not run: no traces given")
    stored = {
        (trace.session.dataset, trace.window.session_id, trace.window.index, completion_of(trace, case.completion))
        for trace in case.traces
    }
    faults = [e for e in case.examples if (e.dataset, e.session_id, e.window_index, e.completion) not in stored]
    first = f"; {len(faults)} differ, the first: request {faults[0].request_key[:12]}" if faults else ""
    return Finding(not faults, f"{len(case.examples)} completions, {len(stored)} stored texts{first}")


def check_sessions(case: Case) -> Finding:
    """No session is in training and in test; data sets for which no test sessions were named fail."""
    trained = {(example.dataset, example.session_id) for example in case.examples}
    tested = {(dataset, one) for dataset, ids in case.test_sessions.items() for one in ids}
    counted = f"{len(trained)} training sessions, {len(tested)} test sessions, {len(case.examples)} examples"
    unnamed = sorted({dataset for dataset, _ in trained} - set(case.test_sessions))
    if unnamed:
        return Finding(False, f"{counted}; no test sessions were named for {', '.join(unnamed)}")
    both = ", ".join(f"{dataset} {one}" for dataset, one in sorted(trained & tested))
    return Finding(not both, f"{counted}{f'; in both: {both}' if both else ''}")


def check_prompts(case: Case) -> Finding:
    """No training prompt is a test prompt."""
    if not case.test_prompts:
        return Finding(None, "not run: no test prompts given")
    both = {prompt_sha256(example.messages) for example in case.examples} & set(case.test_prompts)
    counted = f"{len(case.examples)} training prompts, {len(case.test_prompts)} test prompts"
    return Finding(not both, f"{counted}, {len(both)} in both")


def check_tokenizer(case: Case) -> Finding:
    """Tokenizer, chat template and its arguments are those of training wherever the student is asked."""
    record, spec = case.student.record, case.student.spec
    trained, asked = record["tokenizer_sha256"], spec.tokenizer_sha256()
    same = (trained, record["template_args"]) == (asked, spec.template_args)
    return Finding(
        same, f"trained with {trained[:12]} {record['template_args']}, asked with {asked[:12]} {spec.template_args}"
    )


def check_weights(case: Case) -> Finding:
    """The weights on disk are those that training left."""
    if LEFT_OUT in case.student.record:
        return Finding(None, "not run: its weights are not here, only its recorded answers")
    file = weights_file(case.student.folder, case.student.recipe.method)
    on_disk, recorded = paths.file_sha256(file), case.student.record["weights_sha256"]
    said = f"{file.name}, {file.stat().st_size} bytes: {on_disk[:12]}, recorded {recorded[:12]}"
    return Finding(on_disk == recorded, said)


def check_adapter(case: Case) -> Finding:
    """The adapter's rank, alpha and targets are the recipe's."""
    recipe = case.student.recipe
    if recipe.method != "lora":
        return Finding(None, "not run: the student has no adapter")
    config = json.loads((case.student.folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    targets = config["target_modules"]
    on_disk = (config["r"], config["lora_alpha"], sorted([targets] if isinstance(targets, str) else targets))
    wanted = (recipe.rank, recipe.alpha, sorted(recipe.targets))
    return Finding(on_disk == wanted, f"rank, alpha, targets: {on_disk}, the recipe's: {wanted}")


def check_data(case: Case) -> Finding:
    """The examples on disk are those that the record names, in their order."""
    on_disk, recorded = data_hash(case.examples), case.student.record["data_sha256"]
    said = f"{len(case.examples)} examples: {on_disk[:12]}, recorded {recorded[:12]}"
    return Finding(on_disk == recorded, said)


def check_merged(case: Case) -> Finding:
    """Merged weights give the logits that base model and adapter give."""
    if case.merged is None:
        return Finding(None, "not run: no merged weights")
    n, worst = case.merged["n_prompts"], case.merged["max_abs_logit_diff"]
    compared = f"{n} prompts in {case.merged['dtype']}: largest difference of a logit {worst:.2g}"
    compared += f", same likeliest token {case.merged['same_argmax_share']:.1%}"
    return Finding(
        bool(worst < MAX_LOGIT_DIFF and n >= min(LEAST_PROMPTS, len(case.examples))), compared
    )  # NaN is below nothing


CHECKS: dict[str, Callable[[Case], Finding]] = {
    "labels": check_labels,
    "mask": check_mask,
    "loss": check_loss,
    "thinking": check_thinking,
    "traces": check_traces,
    "sessions": check_sessions,
    "prompts": check_prompts,
    "tokenizer": check_tokenizer,
    "weights": check_weights,
    "adapter": check_adapter,
    "data": check_data,
    "merged": check_merged,
}
"""Name in tables -> check."""


def prompt_sha256(messages: Sequence[Mapping[str, str]]) -> str:
    """Hash of a prompt's canonical messages, for ``test_prompts``."""
    return sha256_of([dict(message) for message in messages])


def audit(
    student: Student,
    *,
    test_sessions: Mapping[str, Collection[str]],
    traces: Sequence[Trace] = (),
    merged: Mapping[str, Any] | None = None,
    test_prompts: Collection[str] = (),
    completion: Completion = "reasoning",
    n_batches: int = 64,
) -> list[Check]:
    """Look at everything in ``CHECKS``.

    Args:
        student: a trained student with its recorded batches.
        test_sessions: data set -> ids of sessions that must not have been trained on; name every data set trained on.
        traces: the teacher's texts from the store.
        merged: what the merge wrote: max_abs_logit_diff, n_prompts, same_argmax_share, dtype; None = not merged.
        test_prompts: :func:`prompt_sha256` of prompts that must not occur in training.
        completion: how much of each trace was to be learnt.
        n_batches: recorded batches that are looked at.

    Returns:
        One check each, in the order of ``CHECKS``. What cannot be read is a failed check, not an exception.
    """
    case = Case(student, test_sessions, traces, merged, test_prompts, completion, n_batches)
    return [Check(name, *_look(look, case)) for name, look in CHECKS.items()]


def _look(look: Callable[[Case], Finding], case: Case) -> Finding:
    try:
        return look(case)
    except (OSError, ValueError, LookupError, TypeError, ModelError, TemplateError) as error:
        return Finding(False, f"cannot be checked: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def refuse(checks: Sequence[Check]) -> None:
    """Stop where a check failed; checks that were not run do not count.

    Raises:
        AuditError: names the failed ones.
    """
    failed = [f"{check.name} ({check.detail})" for check in checks if check.passed is False]
    if failed:
        raise AuditError(f"the student's training does not pass the audit: {'; '.join(failed)}")


def audit_students(
    students: Sequence[TaughtStudent], courses: Sequence[Course], confirming: Sequence[Course] = ()
) -> dict[str, list[Check]]:
    """Audit all students of a study, and stop where a check failed.

    Args:
        students: trained, each with what it was shown.
        courses: all that somebody is tested on: their test sessions and test prompts must not have been trained on.
        confirming: courses of sessions that nothing was chosen by; they must not have been trained on.

    Returns:
        Student's name -> its checks.

    Raises:
        AuditError: names the failed checks.
    """
    barred: dict[str, set[str]] = {}
    for course in [*courses, *confirming]:
        barred.setdefault(course.test.dataset, set()).update(course.test.sessions)
    prompts = {prompt_sha256(c.test.prompt_of(w).messages(w)) for c in courses for w in c.test.windows}
    checks = {
        one.student.spec.name: audit(one.student, test_sessions=barred, traces=one.training_set.traces,
                                     merged=one.merge_report or None, test_prompts=prompts,
                                     completion=one.training_set.completion)
        for one in students
    }  # fmt: skip
    for own in checks.values():
        refuse(own)
    return checks
