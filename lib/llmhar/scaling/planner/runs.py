"""What ``llmhar run PROFILE`` asks and trains, notebook by notebook, each answer once: for ``Plan.gpu_hours_run``.

An engine serves one model in one pass of one notebook: windows of different passes never wait together, and all of a
notebook's cards (``n_gpus``) serve whatever model is loaded. Answers that an earlier notebook left in the store are
not asked again. Clips (05, 05b) are not counted: how many there are only their files say. Starts no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmhar import paths, settings
from llmhar.ask.models import MODELS
from llmhar.data.events import Windowing
from llmhar.distill.courses import is_here, read_name
from llmhar.distill.home_lessons import LISTED
from llmhar.distill.home_students import ARMS
from llmhar.distill.sessions import smallest
from llmhar.distill.teaching import Teaching, load_teaching, read_arm, recipe_for
from llmhar.scaling.planner.workload import Job, Windows, count_windows, prompt_load, unplanned
from llmhar.text.prompt import FORMS, PromptForm

ANSWER_TOKENS = 300
"""Generated tokens of a window of ten events without any reasoning: ten items of JSON."""
SESSIONS = 6
"""Test sessions of MuRAL and MARBLE as S1 splits them, where a data set is not here to be counted."""
TRAIN_SESSIONS = 15
"""And MuRAL's training sessions."""
HOMES = "simulated_homes"
"""Data set whose prompts stand for those of all made-up homes."""
NOT_COUNTED = ("05_fusion", "05b_encoder_errors")


class RunJobs:
    """Collects the jobs of a profile's notebooks, in the order they are run."""

    def __init__(self, profile: str, output: int) -> None:
        """Read the profile's settings.

        Args:
            profile: one of ``settings.PROFILES``.
            output: mean generated tokens of a window, thinking included.

        Raises:
            SettingsError: the profile's settings are wrong.
            PlanError: windows that cannot be counted.
        """
        self.jobs: list[Job] = []
        self._output = output
        self._answered: dict[tuple[Any, ...], int] = {}
        self._trained: set[tuple[Any, ...]] = set()
        self._windows: dict[tuple[Any, ...], Windows] = {}
        self._pass = ""
        sections = settings.read_profile(paths.profile_file(profile), settings.notebook_names())
        for notebook in settings.notebook_names():
            self._values = settings.with_defaults(notebook, sections.get(notebook, {}))
            self._notebook, self._n_passes = notebook, 0
            if notebook not in NOT_COUNTED:
                self._next_pass()
                self._ask_notebook()

    def _next_pass(self) -> None:
        self._n_passes += 1
        self._pass = f"{self._notebook}, pass {self._n_passes}"

    def _ask_notebook(self) -> None:
        values = self._values
        if "teaching" in values:
            self._taught()
        elif "models" in values:  # 01 asks nobody
            names = values.get("datasets") or [values["dataset"]]
            wording, serializer = values.get("wording", "s1-blank"), values.get("serializer", "s1-json")
            form = PromptForm(wording, serializer, values["answer"], values.get("rules", True))
            for model in values["models"]:
                for name in names:
                    self._ask(model, name, form, samples=values.get("n_samples", 1))
            for model, how in (("constrained_model", {"constrained": True}), ("repeated_model", {"samples": 2})):
                self._next_pass()
                for name in names if values.get(model) else ():
                    self._ask(values[model], name, form, **how)
            if values.get("thinking_model"):
                budgets = values["thinking_budgets"]
                for thinking, budget in ((False, None), *((True, each) for each in budgets), (True, None)):
                    self._next_pass()
                    self._ask(values["thinking_model"], names[0], form, thinking=thinking, budget=budget)

    def _ask(self, model: str, name: str, form: PromptForm, *, who: str = "", samples: int = 1, **how: Any) -> None:
        """Windows put to one model, or to the student ``who`` made of it; what the store would have is left out.

        Args:
            model: key into models.yaml.
            name: a data set, loader options behind a colon.
            form: the prompt's.
            who: the student, by what made it; empty = the model as it comes.
            samples: of each window.
            how: "side" ("test" or "train"), "n_windows" (a session), "windows" (in all), "thinking", "budget",
                "constrained": what differs from the notebook's own settings.
        """
        values = {"side": "test", "thinking": None, "thinking_budget": None, "step": None, **self._values, **how}
        if unplanned(MODELS[model], values.get("engine", "auto")):
            return
        n_windows = values.get("n_windows")
        single = self._notebook == "00_tour"
        found = self._count(name, form, n_windows)
        windows = values.get("windows") or (1 if single else getattr(found, values["side"]))
        thinks = MODELS[model].thinking and values["thinking"] is not False
        budget = values.get("budget", values["thinking_budget"])
        output = min(self._output, values["max_tokens"])
        if MODELS[model].thinking:
            output = min(output, ANSWER_TOKENS + (budget or 0)) if not thinks or budget is not None else output
        key = (model, who, name, form, values["side"], n_windows, single, values.get("windows"), values["thinking"],
               budget, values.get("constrained", False), values.get("sampling"), values["max_tokens"])  # fmt: skip
        known = max(self._answered.get(key, 0), self._answered.get((*key[:5], None, *key[6:]), 0))
        new = max(0, samples - known)
        self._answered[key] = max(known, samples)
        if new:
            load, counted = prompt_load(found, MODELS[model], output)
            what = " ".join(filter(None, (who, "constrained" if values.get("constrained") else "", values["side"])))
            self.jobs.append(
                Job(what, MODELS[model], name, windows * new, load, found.source, counted, new, engine=self._pass,
                    cards=values.get("n_gpus", 1))
            )  # fmt: skip

    def _count(self, name: str, form: PromptForm, n_windows: int | None) -> Windows:
        key = (name, form, n_windows)
        if key not in self._windows:
            plain = read_name(name)[0]
            windowing = Windowing(self._values.get("window_size", 10), n_windows, self._values.get("seed", 0))
            found = count_windows(plain, False, form, windowing, self._values.get("data_dir"))
            if found.task is None and n_windows is not None:
                found = found._replace(test=min(found.test, n_windows * SESSIONS))
            self._windows[key] = found
        return self._windows[key]

    def _taught(self) -> None:
        """Notebooks 04, 04b and 04c: traces, trainings, and what teacher, models and students are asked."""
        values = self._values
        if MODELS[values["teacher"]].kind != "llm" and not values["students"]:
            return
        own_settings = ("max_steps", "n_sessions", "trace_filter", "seed")
        lessons = load_teaching(values["teaching"], **{name: values[name] for name in own_settings if name in values})
        here = [name for name in (*values.get("if_here", ()), *values.get("test_on", ())) if is_here(name)]
        own = values.get("datasets") or [values["dataset"]]
        forms = FORMS[values["teacher_prompt"]], FORMS[values["student_prompt"]]
        teacher, students, first = values["teacher"], values["students"], values["students"][:1]
        for name in own:
            self._traces(teacher, name, forms[0], lessons)
        taught = [(model, name) for name in own for model in students]
        for model, name in taught:
            self._train(model, name, lessons, "student")
        arms = [read_arm(arm) for arm in values.get("arms", ())] if first else []
        for arm in arms:
            self._train(first[0], own[0], lessons, f"student, {arm.key}")
        for name in (*own, *here):
            self._ask(teacher, name, forms[0])
        for model, name in taught:
            self._next_pass()
            for tested in (*own, *(here if model in first else ())):
                self._ask(model, tested, forms[1], who=f"student of {name}")
        for model in students:
            for name in own:
                self._ask(model, name, forms[0])
        for arm in arms:
            self._next_pass()
            self._ask(first[0], own[0], forms[1], who=f"student of {own[0]}, {arm.key}")
        for arm in (name for name in values.get("movers", ()) if name in ARMS):
            self._home_student(arm, (*own, *here))
        self._figure_4(lessons, own[0], forms)
        if values.get("n_probes") and students:
            self._next_pass()
            self._ask(teacher, own[0], forms[0], windows=values["n_probes"], who="probes of the teacher")
            self._ask(first[0], own[0], forms[1], windows=values["n_probes"], who="probes of the best student")

    def _traces(self, teacher: str, name: str, form: PromptForm, lessons: Teaching) -> None:
        self._next_pass()
        self._ask(teacher, name, form, side="train", samples=lessons.n_samples)

    def _figure_4(self, lessons: Teaching, name: str, forms: tuple[PromptForm, PromptForm]) -> None:
        counts: Sequence[int] = [n for n in self._values.get("session_counts", ()) if n <= TRAIN_SESSIONS]
        students: Sequence[str] = self._values["students"]
        student = smallest(students) if students else ""
        for n in sorted(set(counts)) if student else ():
            if n:
                self._train(student, name, lessons, f"Figure 4, {n} sessions")
            self._next_pass()
            who = f"Figure 4, {n} sessions" if n else ""
            self._ask(student, name, forms[1] if n else forms[0], who=who)

    def _home_student(self, name: str, tested: Sequence[str]) -> None:
        """A student of made-up homes: traces of its teacher, if that is a language model, its training, its test."""
        arm = ARMS[name]
        lessons, who = load_teaching(arm.teaching, seed=arm.seed), f"home student, {name}"
        self._next_pass()
        if arm.teacher:
            # One window a home says how long prompts are.
            few: dict[str, Any] = {"n_windows": 1, "windows": lessons.n_examples}
            self._ask(arm.teacher, HOMES, LISTED, samples=lessons.n_samples, who=f"teacher of the {who}", **few)
        self._train(arm.base, HOMES, lessons, who, LISTED)
        self._next_pass()
        for data in tested:
            self._ask(arm.base, data, LISTED, who=who, constrained=True)

    def _train(self, model: str, name: str, lessons: Teaching, what: str, form: PromptForm | None = None) -> None:
        """One training run; a student that an earlier notebook trained is opened again. ``form``: of made-up homes."""
        recipe = recipe_for(model, lessons)
        if (model, name, recipe.sha256, what) in self._trained or not MODELS[model].n_params:
            return
        self._trained.add((model, name, recipe.sha256, what))
        few = 1 if form else self._values["n_windows"]
        found = self._count(name, form or FORMS[self._values["student_prompt"]], few)
        steps = recipe.max_steps
        if lessons.max_epochs is not None and not what.startswith("Figure 4"):
            steps = min(steps, -(-lessons.max_epochs * found.train // recipe.examples_per_step))
        load, counted = prompt_load(found, MODELS[model], min(self._output, self._values["max_tokens"]))
        seen = steps * recipe.examples_per_step
        self.jobs.append(Job("training", MODELS[model], name, seen, load, found.source, counted, engine=what))


def run_jobs(profile: str, output: int) -> tuple[list[Job], list[str]]:
    """The jobs of ``llmhar run PROFILE`` and what they leave out.

    Args:
        profile: one of ``settings.PROFILES``.
        output: mean generated tokens of a window, thinking included.
    """
    jobs = RunJobs(profile, output).jobs
    engines = {(job.engine, job.model.name, job.job if "student" in job.job else "") for job in jobs
               if job.job != "training"}  # fmt: skip
    return jobs, [
        f"gpu_hours_run: what `llmhar run {profile}` asks, each answer once, with its samples, constrained pass and "
        f"thinking conditions, on the cards that each notebook names; {len(engines)} starts of engines, whose minutes "
        f"are left out; {' and '.join(NOT_COUNTED)} are not counted; {ANSWER_TOKENS} tokens an answer without thinking"
    ]
