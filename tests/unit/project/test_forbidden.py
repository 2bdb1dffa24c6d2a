"""What must not stand in the code, wherever it is: each rule is tried on a line that breaks it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("shared", "server", "client", "deploy")
FILES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if "pb" not in p.relative_to(ROOT).parts)

LINES = 600
NAMES = ("util", "helper", "manager", "base", "common", "misc", "impl")
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "time.sleep": "polls; wait for an event",
    "torch.load": "unpickles",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "numpy.load": "may unpickle; safetensors or frombuffer",
    "np.load": "may unpickle; safetensors or frombuffer",
}
# Where anything may be caught, once a file, and why.
BROAD_EXCEPT = {
    "client/job_runner.py": "the outer loop of the agent: whatever goes wrong in a job, the server hears of it",
    "client/trainer/faults.py": "the outer loop: whatever the user's code raises goes to the agent",
    "deploy/doctor/run.py": "the boundary of a check: a fault in one must not take the findings of the others along",
    "server/transport/enrolment.py": "the servicer boundary of the enrolment port",
    "server/transport/interceptors.py": "the servicer boundary of the federation port",
    "shared/httpd/handler.py": "the boundary of the status pages: one bad request must not end the server",
    "shared/journal.py": "hands the error to the caller whose transaction it was",
    "shared/telemetry.py": "telemetry never fails a round",
}

TESTS = sorted((ROOT / "tests").rglob("*.py"))
CLOCKS = {"now", "utcnow", "today", "present", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter"}
"""Names of functions that read a clock, whatever they are called on."""


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute, or an empty string."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case _:
            return ""


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
        case _:
            return []


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it swallows anything: one that ends in a bare `raise` only cleans up."""
    match handler.body[-1]:
        case ast.Raise(exc=None):
            return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind) in {"Exception", "BaseException"} for kind in kinds)


def faults(source: str) -> Iterator[tuple[str, int]]:
    """What is wrong in a file, with its line; broad handlers are counted apart."""
    for node in ast.walk(ast.parse(source)):
        for name in imported(node):
            if name.split(".")[0] in MODULES or name in CALLS:
                yield f"imports {name}", node.lineno
        if isinstance(node, ast.Assert):
            yield "assert: vanishes under -O; raise an error that says what came", node.lineno
        if isinstance(node, ast.Call):
            if why := CALLS.get(dotted(node.func)):
                yield f"{dotted(node.func)} {why}", node.lineno
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in {("shell", True), ("allow_pickle", True), ("weights_only", False)}:
                    yield f"{keyword.arg}={value}", node.lineno


def broad_handlers(source: str) -> list[int]:
    return [n.lineno for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ExceptHandler) and is_broad(n)]


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: all but the bodies of its functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for given in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield given
                yield from at_import(given)
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from at_import(child)


def clocks(source: str) -> list[int]:
    """Lines that read a clock when the module is imported."""
    calls = (node for node in at_import(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if dotted(call.func).rpartition(".")[2] in CLOCKS]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_files_to_look_at() -> None:
    assert {p.relative_to(ROOT).parts[0] for p in FILES} == set(FOLDERS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file(path: Path) -> None:
    source = path.read_text()
    assert list(faults(source)) == []
    assert len(source.splitlines()) <= LINES
    assert not any(word in path.stem.split("_") or word + "s" in path.stem.split("_") for word in NAMES), path.stem
    assert path.stem.startswith("_") or ast.get_docstring(ast.parse(source)), "no docstring"
    assert len(broad_handlers(source)) <= (name_of(path) in BROAD_EXCEPT), "catches everything"


def test_the_list_of_broad_handlers_is_current() -> None:
    assert {name_of(p) for p in FILES if broad_handlers(p.read_text())} == set(BROAD_EXCEPT)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "from time import sleep",
        "import multiprocessing, joblib.memory",
        "def f():\n    import cloudpickle",
        "time.sleep(1)",
        "eval('1')",
        "exec('1')",
        "torch.load(path)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "reader(path, allow_pickle=True)",
        "assert peer.size == 4",
    ],
)
def test_a_forbidden_line_is_seen(line: str) -> None:
    assert len(list(faults(line))) >= 1


def test_a_handler_that_cleans_up_is_allowed() -> None:
    assert broad_handlers("try:\n    f()\nexcept BaseException:\n    undo()\n    raise") == []


@pytest.mark.parametrize("kind", ["", " Exception", " BaseException as error", " (OSError, Exception)"])
def test_a_broad_handler_is_seen(kind: str) -> None:
    assert broad_handlers(f"try:\n    f()\nexcept{kind}:\n    pass") == [3]


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile('x')", "subprocess.run(['ls'], shell=False)", "loop.sleep(1)"]
)
def test_what_is_allowed_is_not_seen(line: str) -> None:
    assert list(faults(line)) == []


def test_no_test_takes_the_time_at_import() -> None:
    """A suite that takes a quarter of an hour would compare with a time that has passed."""
    assert {name_of(path): lines for path in TESTS if (lines := clocks(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("NOW = datetime.now(UTC)", True),
        ("BEGUN: float = time.time()", True),
        ("CA = create(now=present() - DAY)", True),
        ("def f(now=datetime.now(UTC)): ...", True),
        ("class A:\n    now = date.today()", True),
        ("@pytest.mark.parametrize('now', [datetime.now(UTC)])\ndef f(now): ...", True),
        ("def f():\n    return datetime.now(UTC)", False),
        ("class A:\n    def f(self):\n        return time.time()", False),
        ("CLOCK = lambda: time.time()", False),
        ("NOW = datetime(2026, 1, 1, tzinfo=UTC)", False),
    ],
)
def test_a_clock_that_is_read_at_import_is_seen(source: str, seen: bool) -> None:
    assert bool(clocks(source)) == seen
