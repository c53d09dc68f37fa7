"""The start of the command line: light, interruptible, completed by the shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

import eigenboundary as eb
from eigenboundary.cli import app, options
from eigenboundary.cli.process import ExitCode
from eigenboundary.experiments import config_names
from eigenboundary.experiments.figures import FIGURES, GROUPS

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "rich")

# Runs the command and says on stderr which of the heavy libraries it has imported.
PROBE = f"""
import sys
from eigenboundary.cli import main
try:
    main()
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""

# Runs the command and says on stdout when it handles Ctrl-C.
STARTED = """
from eigenboundary.cli import main, process

install = process.exit_on_interrupt

def installed():
    install()
    print("up", flush=True)

process.exit_on_interrupt = installed
main()
"""


def probe(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("analyze", "--help"), ("reproduce", "--help"), ("analyse",)],
)
def test_help_version_and_usage_errors_import_nothing_heavy(arguments):
    done = probe(*arguments)
    assert done.returncode == (2 if arguments == ("analyse",) else 0)
    assert done.stderr.splitlines()[-1] == "[]"


def test_every_command_has_a_help_with_the_exit_codes():
    shown = probe("--help").stdout
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    for name in names:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
    for code in ExitCode:
        assert re.search(rf"^    {int(code)} +{code.meaning}$", shown, re.MULTILINE)
    assert "..." not in shown.split("Commands:")[1]


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2, 0.5, 1.0, 2.0])
def test_an_interrupt_while_the_command_starts_is_one_line_and_exit_code_130(tmp_path, delay):
    (tmp_path / "slow.py").write_text("import time\n\ndef build():\n    time.sleep(60)\n")
    (tmp_path / "data.csv").write_text("a,b,y\n1,2,0\n3,4,1\n")
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, "analyze", "slow:build", "--data", "data.csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # A run in the background of a shell inherits an ignored SIGINT.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "up\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "Interrupted.\n")


def test_an_ignored_interrupt_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);" + PROBE.replace(
        "    main()", "    sys.argv[1:] = ['--version']; main()"
    ).replace("finally:", "finally:\n    assert signal.getsignal(2) is signal.SIG_IGN")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def completed(words):
    done = probe(
        _EIGENBOUNDARY_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    assert done.stderr.splitlines()[-1] == "[]"
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("eigenboundary co", {"compare"}),
        ("eigenboundary analyze --cur", {"--curvature"}),
        ("eigenboundary analyze --method ", set(options.METHODS)),
        ("eigenboundary analyze --k a", {"all", "auto"}),
        ("eigenboundary train blobs-n", {"blobs-nll", "blobs-normal"}),
        ("eigenboundary reproduce app", {"appendix"}),
    ],
)
def test_the_shell_completes_commands_options_and_values(words, expected):
    assert completed(words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_can_be_shown(shell):
    script = probe("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0
    assert "_EIGENBOUNDARY_COMPLETE" in script.stdout


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("method", options.METHODS),
        ("curvature", options.CURVATURES),
        ("loss", options.LOSSES),
        ("controls", options.CONTROLS),
        ("dtype", options.DTYPES),
    ],
)
def test_completed_values_are_those_that_the_library_knows(name, known):
    value = ("other",) if name == "controls" else "other"
    samples = torch.eye(2), torch.arange(2)
    with pytest.raises(eb.InvalidInputError) as refused:
        eb.analyze(torch.nn.Linear(2, 2), samples, k=1, **{name: value})
    said = re.findall(r"\w+", refused.value.wanted)
    assert set(known) <= set(said)
    assert len(said) < len(known) + 12


def test_completed_figures_and_experiments_exist():
    assert {*FIGURES, *GROUPS} >= set(options.FIGURES)
    assert set(options.config_files("")) == set(config_names())
