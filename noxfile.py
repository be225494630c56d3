"""Sessions of nox for developers: `nox` runs quick, lint and docs; `nox -s tests` all tests with coverage; `nox -l` lists all.

Every session installs the package with the pinned constraints. What a change must pass is `.ci/run`; the sessions are its parts,
each in an environment that nox keeps.
"""

import pathlib

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["quick", "lint", "docs"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
CONSTRAINED = ("-c", "constraints.txt")


@nox.session
def quick(session: nox.Session) -> None:
    """Run a fast test of every room in one process; arguments after `--` go to pytest."""
    session.install(*CONSTRAINED, "-e", ".[test]")
    session.run("pytest", "-m", "quick", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the default tests with coverage; arguments after `--` go to pytest."""
    session.install(*CONSTRAINED, "-e", ".[test]", "pytest-cov")
    session.run(
        "pytest", "-n", "logical", "--dist", "worksteal",
        "--cov", "--cov-report=term:skip-covered", "--cov-report=xml", *session.posargs,
    )  # fmt: skip


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types. The package is not editable, as type checkers do not see an editable one."""
    session.install(*CONSTRAINED, ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    settings = session.invoked_from + "/pyproject.toml"
    with session.chdir(session.create_tmp()):
        session.run("mypy", "--config-file", settings, "-p", "quadsim")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error. `nox -s docs -- serve` shows it in a browser while you write."""
    session.install(*CONSTRAINED, ".[docs]")
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]))


@nox.session(python=PYTHONS, reuse_venv=False)
@nox.parametrize("constraints", [True, False])
def wheel(session: nox.Session, constraints: bool) -> None:
    """Build the wheel, install it in a fresh environment, and run the README's sweep and some proofs outside the checkout."""
    folder = session.create_tmp()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", folder)
    (built,) = pathlib.Path(folder).glob("*.whl")
    session.install(*(CONSTRAINED if constraints else ()), str(built))
    with session.chdir(folder):
        session.run("quadsim", "sweep", "--heterogeneity", "1,10,100", "--quiet")
        session.run("quadsim", "verify", "gd-upper", "sign-rate", "--quiet")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed against torch and JAX; arguments after `--` go to `quadsim bench`."""
    session.install(*CONSTRAINED, ".[bench]")
    session.run("quadsim", "bench", *session.posargs)
