"""Figures that a second process draws while the first one computes, and what a command does not load."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quadsim.cli import drawing
from quadsim.cli.commands import sweep as command
from quadsim.cli.drawing import Drawer, drawer
from quadsim.cli.pages import draw_figures
from quadsim.simulator import SweepConfig, sweep
from quadsim.simulator.sweeps import backends

SMALL = ("--heterogeneity", "2", "--optimizers", "gd,signsgd", "--seeds", "1", "--steps", "50", "--lr", "0.1")

CHILD = """
import os, time
from pathlib import Path
from quadsim.cli import drawing
def draw(folder, style, finished):
    {draw}
drawing._loaded = lambda: draw
drawing.main()
"""
"""A second process that loads nothing, and does something else in place of drawing."""


@pytest.fixture
def child(monkeypatch):
    """Starts second processes, which are ended with the test."""
    started = []

    def start(draw):
        monkeypatch.setattr(drawing, "_START", CHILD.format(draw=draw))
        started.append(Drawer())
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.close()


def drawn(one, folder, style):
    """What one says that was asked to draw a finished folder."""
    one.finish(folder, style)
    return one.wait()


def ends(number):
    """Whether a process ends within some seconds; one that nobody has waited for has ended, too."""
    for _ in range(400):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_the_second_process_draws_the_folder_in_the_style(child, tmp_path):
    assert drawn(child("print('noise'); (folder / 'drawn').write_text(style)"), tmp_path, "paper") is None
    assert (tmp_path / "drawn").read_text() == "paper"


def test_the_second_process_draws_twice_where_it_is_asked_before_the_bounds_are_known(child, tmp_path):
    one = child("time.sleep(0.1); print((folder / 'order').open('a').write(f'{finished} '))")
    one.begin(tmp_path, "quadsim")
    assert drawn(one, tmp_path, "quadsim") is None
    assert (tmp_path / "order").read_text() == "False True "


def test_what_goes_wrong_before_the_bounds_are_known_is_reported_at_the_end(child, tmp_path):
    one = child("raise OSError(28, f'No space left, {finished}')")
    one.begin(tmp_path, "quadsim")
    assert drawn(one, tmp_path, "quadsim") == "OSError: [Errno 28] No space left, False"


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        ("raise OSError(28, 'No space left on device')", "OSError: [Errno 28] No space left on device"),
        ("os._exit(3)", "the process that draws ended with exit code 3"),
    ],
)
def test_what_goes_wrong_in_the_second_process_is_reported(child, tmp_path, draw, reason):
    assert drawn(child(draw), tmp_path, "quadsim") == reason


def test_a_second_process_that_has_ended_before_it_is_asked_is_reported(child, tmp_path):
    ended = child("pass")
    ended._process.kill()
    ended._process.wait()
    assert drawn(ended, tmp_path, "quadsim") == "the process that draws ended with exit code -9"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_is_not_asked_ends_with_the_command(monkeypatch):
    monkeypatch.setattr(drawing, "_START", CHILD.format(draw="pass"))
    monkeypatch.setattr(drawing, "_allowed", [True])
    monkeypatch.setattr(backends, "usual_workers", lambda: 2)
    started = []

    def interrupted():
        with drawer(True) as found:
            started.append(found.start())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ends(started[0].pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_is_loading_ends_with_the_first(monkeypatch):
    loading = CHILD.format(draw="pass").replace(
        "lambda: draw", "lambda: (print('loading', flush=True), time.sleep(600))"
    )
    monkeypatch.setattr(drawing, "_START", loading)
    one = Drawer()
    one.start()
    try:
        assert one._process.stdout.readline() == "loading\n"
        one._process.stdin.close()  # as the system does when the first process is killed
        assert ends(one._process.pid)
    finally:
        one._process.kill()
        one._process.wait()
        one._process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="groups of processes")
def test_ctrl_c_is_not_sent_to_the_second_process(child):
    assert os.getpgid(child("pass")._process.pid) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("asked", [True, False], ids=["while it draws", "while it waits"])
def test_the_second_process_ends_with_the_first_however_that_does(tmp_path, asked):
    first = f"""
import sys, threading, time
from pathlib import Path
from quadsim.cli import drawing
drawing._START = {CHILD.format(draw="(folder / 'begun').touch(); time.sleep(600)")!r}
one = drawing.Drawer()
one.start()
print(one._process.pid, flush=True)
if {asked}:
    one.finish(Path({str(tmp_path)!r}), "quadsim")
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", first], stdout=subprocess.PIPE, text=True)
    try:
        number = int(process.stdout.readline())
        while asked and not (tmp_path / "begun").exists():
            time.sleep(0.02)
        process.terminate()
        process.wait()
        assert ends(number)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("wanted", "allowed", "cores"), [(False, True, 2), (True, False, 2), (True, True, 1)])
def test_no_process_is_started_where_it_is_not_wanted_or_of_no_use(monkeypatch, wanted, allowed, cores):
    monkeypatch.setattr(drawing, "_allowed", [allowed])
    monkeypatch.setattr(backends, "usual_workers", lambda: cores)
    monkeypatch.setattr(drawing, "Drawer", None)
    with drawer(wanted) as found:
        assert found is None


@pytest.mark.parametrize(
    ("load", "cores", "idle"),
    [
        ("0.00 0.01 0.05 1/80 12345", 2, True),
        ("3.10 2.00 1.00 1/80 12345", 2, True),  # of a command that has just ended
        ("0.00 0.01 0.05 2/80 12345", 2, False),
        ("0.00 0.01 0.05 1/80 12345", 1, False),
        (None, 64, False),
    ],
)
def test_a_core_is_idle_where_fewer_programs_run_than_there_are_cores(monkeypatch, tmp_path, load, cores, idle):
    monkeypatch.setattr(drawing, "_LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(backends, "usual_workers", lambda: cores)
    if load is not None:
        (tmp_path / "loadavg").write_text(load)
    assert drawing.has_idle_core() is idle


@pytest.mark.parametrize(("idle", "seeds", "starts"), [(True, 16, True), (False, 16, False), (True, 100_000, False)])
def test_the_process_that_draws_loads_during_a_short_sweep_on_an_idle_core(monkeypatch, idle, seeds, starts):
    started = []
    monkeypatch.setattr(Drawer, "start", lambda self: started.append(self))
    monkeypatch.setattr(command, "has_idle_core", lambda: idle)
    first = command._First(quiet=False, as_json=False, drawn_by=Drawer())
    first.prepare(SweepConfig(heterogeneity=(1.0, 10.0, 100.0), seeds=seeds))
    assert bool(started) is starts


NOT_LOADED = (
    "torch",
    "xarray",
    "dask",
    "distributed",
    "seaborn",
    "matplotlib",
    "scipy.stats",
    "scipy.io",
    "joblib",
    "jinja2",
)
NOT_LOADED_YET = (
    "pandas",
    "pyarrow",
    "h5netcdf",
    "sympy.physics.units",
    "quadsim.theory.statements.sign",
    "quadsim.theory.statements.adam_cycle",
    "pydantic",
    "rich.progress",
)
"""What is loaded only after the table has been shown."""

LOADED = """
import sys
sys.argv = ["quadsim", *sys.argv[1:]]
from quadsim.cli import main
try:
    main()
finally:
    print("loaded", sorted(set(NOT_LOADED) & set(sys.modules)), file=sys.stderr)
"""


def test_a_sweep_on_a_cpu_loads_no_library_that_it_does_not_need_for_the_table(tmp_path):
    command = [sys.executable, "-c", LOADED.replace("NOT_LOADED", repr(NOT_LOADED)), "sweep", *SMALL]
    done = subprocess.run(
        [*command, "--no-figures", "--out", str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "loaded []"
    assert "signsgd" in done.stdout


SHOWN = """
import sys
import quadsim.cli.text.stored_table as shown
shows = shown.print_answer
def print_answer(*arguments, **options):
    shows(*arguments, **options)
    print("at the table", sorted(set(NOT_LOADED) & set(sys.modules)), "started", started, file=sys.stderr)
shown.print_answer = print_answer
import quadsim.cli.drawing as drawing, quadsim.simulator.sweeps.backends as backends
backends.usual_workers = lambda: 2
drawing._LOAD = drawing.Path("no such file")
started, starts = [], drawing.Drawer.start
def start(self):
    started.append("the process that draws")
    return starts(self)
drawing.Drawer.start = start
"""


def test_what_the_table_does_not_need_is_loaded_after_it(tmp_path):
    code = (SHOWN + LOADED + "    print(started, file=sys.stderr)\n").replace("NOT_LOADED", repr(NOT_LOADED_YET))
    command = [sys.executable, "-c", code, "sweep", *SMALL, "--out", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after, started = done.stderr.splitlines()[-3:]
    assert before == "at the table [] started []"
    assert "h5netcdf" in after  # so that the check above can fail
    assert "pandas" in after
    assert "the process that draws" in started


def test_the_command_writes_the_figures_that_one_process_writes(tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "quadsim.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "report.html" in call("sweep", *SMALL, "--out", str(tmp_path / "a"))
    files = [*(tmp_path / "a/figures").glob("*.png"), tmp_path / "a/report.html"]
    drawn = [path.read_bytes() for path in files]
    call("report", str(tmp_path / "a"))
    assert len(files) > 1
    assert drawn == [path.read_bytes() for path in files]


def test_colours_and_style_are_those_of_seaborn():
    import seaborn as sns

    from quadsim.simulator.figures.palette import COLORS
    from quadsim.simulator.figures.style import _PLAIN

    assert [tuple(color) for color in COLORS] == [tuple(color) for color in sns.color_palette("colorblind", 10)]
    theirs = {**sns.axes_style("ticks"), **sns.plotting_context("paper")}
    del theirs["image.cmap"]
    assert _same(_PLAIN, theirs)


def _same(ours, theirs):
    """Whether two settings of Matplotlib are equal; 12 * 0.8 is not 9.6 to the bit."""
    close = {k: v if isinstance(v, (str, list, bool)) else pytest.approx(v) for k, v in theirs.items()}
    return ours == close


def test_drawing_leaves_files_that_the_first_process_is_writing(tmp_path):
    """It stores the table that it has printed meanwhile, without a lock."""
    config = SweepConfig(heterogeneity=(2,), optimizers=("gd",), seeds=1, steps=50, lr=(0.1,))
    results = sweep(config, out=tmp_path / "out", figures=False)
    being_written = tmp_path / "out/table.partial-1-0a.json"
    being_written.write_text("{}")
    draw_figures(results)
    assert (tmp_path / "out/figures/steps.png").is_file()
    assert being_written.is_file()
