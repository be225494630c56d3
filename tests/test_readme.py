"""What the README shows in Python runs."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run_one_after_the_other():
    assert len(BLOCKS) == 6
    names: dict = {}
    for block in BLOCKS:
        exec(block, names)
    assert names["run"].gap.shape == (16, 3, 1001)
    assert names["trained"].steps_to_tolerance.shape == (4, 3)
    assert (names["trained"].status == "converged").any()
    assert names["found"].verdict[0].tolist() == ["refuted", "refuted", "not applicable"]
    assert str(names["found"].step[0, 1]) in README
    assert names["found"].reason[0, 1] in README


def test_the_three_line_test_passes_in_a_strangers_folder(pytester):
    (test,) = (block for block in BLOCKS if "def test_" in block)
    pytester.makepyfile(test)
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_false_claim_fails_in_a_strangers_folder(pytester):
    (test,) = (block for block in BLOCKS if "def test_" in block)
    pytester.makepyfile(test.replace('"gd", lr=', '"adam", lr='))
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gd-upper: not applicable on problem 0*"])


@pytest.mark.parametrize("command", re.findall(r"```sh\n(pip install.*?)\n```", README))
def test_the_two_commands_are_what_ci_calls(command):
    ci = (Path(__file__).parent.parent / ".ci/run").read_text()
    if "pytest" in command:
        assert command.replace("pip install", "pip install -q") in ci
    else:
        assert command == "pip install -c constraints.txt . && quadsim sweep --heterogeneity 1,10,100"
