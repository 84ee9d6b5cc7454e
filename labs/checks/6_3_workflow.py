"""6.3 A workflow file: order, conditions, outputs, a matrix. Judged by what it means.

The judge reads the file, and works out which jobs would run in each of several situations by the
rules of the hosted service (https://docs.github.com/en/actions/reference/workflows-and-actions).
No command runs, and two files that mean the same get the same points.
"""

import re

import numpy as np
import yaml

from lablib.teach.claims import Claim
from lablib.teach.exercise import Case

ANSWERS = ("workflow()",)
TITLE = "The workflow file"
POINTS = 5

JOBS = ("test", "train", "gate", "deploy", "roll_back")
FRAMEWORKS = ("torch", "tensorflow")
COMMANDS = {
    "test": "python -m pytest",
    "gate": "python gate.py",
    "deploy": "python deploy.py",
    "roll_back": "python roll_back.py",
}
MOST_CHARACTERS, MOST_DEPTH, MOST_CELLS = 10_000, 12, 20

_YAML = (
    "Is every level indented by two spaces, and does `:` come after each key?",
    "The file needs `on`, and `jobs` with the five jobs of the contract. Each has `runs-on` and "
    "`steps`, and each step has `run`.",
)
_MATRIX = (
    "One job can run once for each value of a list. Which key is that?",
    "strategy: matrix: framework: [torch, tensorflow]. Then use ${{ matrix.framework }} in `run`.",
)
_ORDER = (
    "Jobs without `needs` all start at once.",
    "train needs test, gate needs train (it then waits for every copy), deploy needs gate.",
)
_CONDITION = (
    "The job gate also succeeds when its decision is no. Where can deploy read the decision?",
    "deploy: if: needs.gate.outputs.passed == 'true'. An output is always text, and the text "
    "'false' counts as true.",
)
_OUTPUT = (
    "An output of a step is not yet an output of its job.",
    "Give the step of gate.py an `id`; the job then has outputs: version: "
    "${{ steps.ID.outputs.version }}. deploy uses ${{ needs.gate.outputs.version }}.",
)
_BOTH = "Use both: failure() && needs.deploy.result == 'failure'."
_SKIPPED = (
    "roll_back did not run after a failure. Without a status function, `if` gets success() && in "
    "front.",
    f"failure() lets the job run after a failure. {_BOTH}",
)
_TOO_OFTEN = (
    "roll_back ran although deploy did not fail. failure() is true if any job before it failed, "
    "such as test. Which value says how deploy itself ended?",
    f"needs.deploy.result says how deploy ended. {_BOTH}",
)


def cases(seed):
    return [case_of(seed)]


def case_of(seed):
    rng = np.random.default_rng(seed)
    version, fails = int(rng.integers(100, 10**6)), str(rng.choice(FRAMEWORKS))
    own = ({}, {"version": version, "fails": fails})
    return Case("the file in six situations", own=own, ranks=2)


def observe(me, answer, given):
    return answer() if me.rank == 0 else None


# --- judging


def judge(case, seen):
    text, more = seen.values[0], case.own[1]
    try:
        jobs = read(text)
    except Unreadable as problem:
        yield Claim("the file is a workflow with the five jobs", False, ", ".join(JOBS),
                    str(problem), hints=_YAML)  # fmt: skip
        return
    yield Claim("the file is a workflow with the five jobs", True)
    outputs, told = delivered(jobs, more["version"])
    for claim, broken, wanted in situations(more):
        ran, saw = simulated(jobs, more["version"], **broken)
        yield Claim(claim, ran == set(wanted), spoken(wanted), saw or spoken(ran),
                    hints=hints_for(ran, set(wanted), jobs, outputs))  # fmt: skip
    trained = sorted(command for _, _, command in commands(jobs, "train", {}))
    due = sorted(f"train_{framework}.py" for framework in FRAMEWORKS)
    yield Claim("train runs once for each framework, as a matrix",
                len(trained) == len(due) and "matrix" in strategy(jobs["train"])
                and all(name in command for name, command in zip(due, trained)),
                " and ".join(due), "; ".join(trained) or "no command", hints=_MATRIX)  # fmt: skip
    yield Claim("deploy gets the version from the gate as an output",
                any(shell_words(command)[-1:] == [str(more["version"])] for command in told),
                f"python deploy.py {more['version']}", "; ".join(told) or "no command",
                hints=_OUTPUT)  # fmt: skip


def situations(more):
    """Each is a claim, what goes wrong, and which jobs should then run."""
    return [
        ("if all goes well, four jobs run and roll_back does not", {}, JOBS[:4]),
        ("if a test fails, nothing after it runs", {"fails": {"test"}}, JOBS[:1]),
        (f"if the training with {more['fails']} fails, the gate does not run",
         {"fails": {"train"}}, JOBS[:2]),
        ("if the gate says no, nothing is deployed", {"passed": "false"}, JOBS[:3]),
        ("if the gate breaks, nothing is deployed", {"fails": {"gate"}}, JOBS[:3]),
        ("if deploy fails, roll_back runs", {"fails": {"deploy"}}, JOBS),
    ]  # fmt: skip


def hints_for(ran, wanted, jobs, outputs):
    """Choose hints by the jobs that should not have run, or should have run."""
    wrong = ran ^ wanted
    if not all(needs(jobs[name]) for name in JOBS[1:]):
        return _ORDER
    if wrong == {"roll_back"}:
        return _TOO_OFTEN if wrong <= ran else _SKIPPED
    if not wrong <= {"deploy", "roll_back"}:
        return _ORDER
    return _CONDITION if "true" in outputs.values() else _OUTPUT


def spoken(jobs):
    return ", ".join(job for job in JOBS if job in jobs) or "no job runs"


class Unreadable(Exception):
    """Why the text is not a workflow."""


def read(text):
    """Return the jobs of a workflow file; refuse texts that are long, deep, or use aliases."""
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise Unreadable(f"return a text of at most {MOST_CHARACTERS} characters")
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MOST_DEPTH:
                raise Unreadable("aliases and very deep nesting are not allowed here")
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {str(error)[:200]}") from None
    if not isinstance(found, dict) or "push" not in str(found.get("on", found.get(True))):
        raise Unreadable("no `on: push`")  # YAML 1.1 reads the bare word `on` as True
    jobs = found.get("jobs")
    if not isinstance(jobs, dict) or set(jobs) != set(JOBS):
        raise Unreadable(f"jobs: {', '.join(map(str, jobs or ()))}")
    for name, job in jobs.items():
        check_job(name, job, jobs)
    return jobs


def check_job(name, job, jobs):
    steps = job.get("steps") if isinstance(job, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Unreadable(f"the job {name} has no list of steps")
    if "runs-on" not in job:
        raise Unreadable(f"the job {name} has no runs-on")
    if unknown := set(needs(job)) - set(jobs):
        raise Unreadable(f"the job {name} needs {unknown.pop()}, which does not exist")
    due = COMMANDS.get(name, "")
    if not any(due in str(step.get("run", "")) for step in steps):
        raise Unreadable(f"no step of the job {name} has a `run` with {due}")


def needs(job):
    listed = job.get("needs", [])
    return [listed] if isinstance(listed, str) else list(listed or [])


# --- which jobs run


def simulated(jobs, version, fails=frozenset(), passed="true"):
    """Return the jobs that run if those in `fails` fail, and a problem with an expression or ""."""
    outputs = {"passed": passed, "version": str(version)}
    results, contexts = {}, {}
    while waiting := [job for job in JOBS if job not in results]:
        ready = [job for job in waiting if set(needs(jobs[job])) <= set(results)]
        if not ready:
            return set(), f"{', '.join(waiting)} wait for each other"
        for name in ready:
            context = {"needs": {n: contexts[n] for n in needs(jobs[name])}}
            try:
                runs = condition(jobs, name, results, context)
            except Unreadable as problem:
                return set(), f"`if` of {name}: {problem}"
            results[name] = "skipped"
            if runs:
                results[name] = "failure" if name in fails else "success"
            told = job_outputs(jobs[name], name, outputs) if results[name] == "success" else {}
            contexts[name] = {"result": results[name], "outputs": told}
    return {name for name in JOBS if results[name] != "skipped"}, ""


def ancestors(jobs, name):
    found, rest = set(), needs(jobs[name])
    while rest:
        if (parent := rest.pop()) not in found:
            found.add(parent)
            rest += needs(jobs[parent])
    return found


def condition(jobs, name, results, context):
    """Return whether the job runs: its `if`, together with success() if it names no status."""
    text = str(jobs[name].get("if", "success()")).strip()
    if jobs[name].get("if") in (True, False):
        text = text.lower()
    if whole := re.fullmatch(r"\$\{\{(.*)\}\}", text, re.DOTALL):
        text = whole[1]
    before = ancestors(jobs, name)
    status = {
        "success": all(results[job] == "success" for job in before),
        "failure": any(results[job] == "failure" for job in before),
        "always": True,
        "cancelled": False,
    }
    asked = bool(Expression(text, context, status).value())
    names_status = re.search(r"\b(success|failure|always|cancelled)\s*\(", text)
    return asked and (bool(names_status) or status["success"])


def job_outputs(job, name, outputs):
    """Return the outputs of a job whose step with the gate's command writes `outputs`."""
    steps = {
        step["id"]: {"outputs": outputs if "gate.py" in str(step.get("run")) else {}}
        for step in job["steps"]
        if isinstance(step.get("id"), str)
    }
    listed = job.get("outputs")
    listed = listed if name == "gate" and isinstance(listed, dict) else {}
    return {key: filled(str(value), {"steps": steps}) for key, value in listed.items()}


# --- what the jobs' commands are


def delivered(jobs, version):
    outputs = job_outputs(jobs["gate"], "gate", {"passed": "true", "version": str(version)})
    context = {"needs": {"gate": {"result": "success", "outputs": outputs}}}
    found = commands(jobs, "deploy", context if "gate" in needs(jobs["deploy"]) else {})
    return outputs, [command for _, _, command in found if "deploy.py" in command]


def commands(jobs, name, context):
    """Return (cell of the matrix, step, command) of a job, with all expressions filled in."""
    job, found = jobs[name], []
    for cell in matrix(job):
        inside = context | {"matrix": cell}
        for step in job["steps"]:
            env = {}
            for level in (job.get("env"), step.get("env")):
                values = level.items() if isinstance(level, dict) else ()
                env |= {key: filled(str(value), inside | {"env": env}) for key, value in values}
            text = filled(str(step.get("run", "")), inside | {"env": env})
            names = re.compile(r"\$\{?(\w+)\}?")
            found.append((cell, step, names.sub(lambda m, env=env: env.get(m[1], ""), text)))
    return [one for one in found if name != "train" or "train_" in one[2]]


def strategy(job):
    found = job.get("strategy")
    return found if isinstance(found, dict) else {}


def matrix(job):
    """Return the cells of a job's matrix: each list is a dimension, `include` adds cells."""
    listed = strategy(job).get("matrix")
    if not isinstance(listed, dict):
        return [{}]
    cells = [{}]
    for key, values in listed.items():
        if key not in ("include", "exclude") and isinstance(values, list):
            cells = [cell | {key: value} for cell in cells for value in values[:MOST_CELLS]]
            cells = cells[:MOST_CELLS]
    more = [one for one in listed.get("include") or () if isinstance(one, dict)]
    return [cell for cell in [*cells, *more[:MOST_CELLS]] if cell] or [{}]


def shell_words(command):
    lines = [line for line in command.splitlines() if "deploy.py" in line]
    return lines[0].replace('"', "").replace("'", "").split() if lines else []


def filled(text, context):
    """Replace each ${{ ... }} by its value; what cannot be read becomes an empty text."""

    def value(match):
        try:
            return str(Expression(match[1], context, {}).value())
        except Unreadable:
            return ""

    return re.sub(r"\$\{\{(.*?)\}\}", value, text, flags=re.DOTALL)


class Expression:
    """An expression of a workflow: names, texts, numbers, calls, == != && || ! and brackets."""

    TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|[!()]|[\w.*-]+)")

    def __init__(self, text, context, status):
        self.tokens, at = [], 0
        while text[at:].strip():
            if not (match := self.TOKEN.match(text, at)):
                raise Unreadable(f"cannot read {text[at:].strip()[:60]}")
            self.tokens.append(match[1])
            at = match.end()
        self.context, self.status = context, status

    def value(self):
        found = self.either()
        if self.tokens:
            raise Unreadable(f"cannot read {' '.join(self.tokens)[:60]}")
        return found

    def either(self):
        found = self.both()
        while self.accept("||"):
            other = self.both()
            found = found or other
        return found

    def both(self):
        found = self.compared()
        while self.accept("&&"):
            other = self.compared()
            found = found and other
        return found

    def compared(self):
        found = self.single()
        for sign in ("==", "!="):
            if self.accept(sign):
                return same(found, self.single()) == (sign == "==")
        return found

    def single(self):
        if self.accept("!"):
            return not self.single()
        if self.accept("("):
            found = self.either()
            self.demand(")")
            return found
        token = self.tokens.pop(0) if self.tokens else ""
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if self.accept("("):
            self.demand(")")
            if token not in self.status:
                raise Unreadable(f"{token}() is not known here")
            return self.status[token]
        return self.named(token)

    def named(self, token):
        if token in ("true", "false"):
            return token == "true"
        if re.fullmatch(r"\d+", token):
            return int(token)
        if not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w*-]+)+", token):
            raise Unreadable(f"cannot read {token or 'an empty expression'}")
        found = self.context
        for part in token.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        return "" if isinstance(found, dict) else found

    def accept(self, token):
        if self.tokens[:1] == [token]:
            self.tokens.pop(0)
            return True
        return False

    def demand(self, token):
        if not self.accept(token):
            raise Unreadable(f"{token} is missing")


def same(one, other):
    """Compare as the hosted service does: texts without case, true as the number 1, other types as
    numbers, of which text has none."""
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    numbers = [number(value) for value in (one, other)]
    return None not in numbers and numbers[0] == numbers[1]


def number(value):
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"\d+", value) else 0.0 if value == "" else None
    return float(value)
