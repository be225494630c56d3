"""What a result says of its making: versions, and the code that computed it."""

from pathlib import Path

import quadsim.simulator
from quadsim.simulator.support import provenance
from quadsim.simulator.sweeps.work.sealed import SealedFiles, seal


def test_the_manifest_names_versions_and_the_seed():
    found = provenance.provenance(1.23456, seed=3)
    assert found["versions"].keys() >= {"python", "quadsim", "torch", "numpy"}
    assert (found["seed"], found["wall_seconds"]) == (3, 1.235)


def test_every_change_of_the_sources_is_another_producer(tmp_path, monkeypatch):
    """So that no chunk of older code is reused, whatever the version of the package says."""
    for name in ("simulator/__init__.py", "simulator/rules/rule.py", "theory/judge.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a = 1\n", encoding="utf-8")
    monkeypatch.setattr(quadsim.simulator, "__file__", str(tmp_path / "simulator/__init__.py"))
    found = {provenance.source_digest.__wrapped__()}
    for name in ("simulator/rules/rule.py", "theory/judge.py"):
        (tmp_path / name).write_text("a = 2\n", encoding="utf-8")
        found.add(provenance.source_digest.__wrapped__())
    assert len(found) == 3


def test_the_digest_is_of_the_installed_sources():
    simulator = Path(quadsim.simulator.__file__).parent
    assert (simulator / "rules/rule.py").is_file()
    assert (simulator.parent / "theory/checking/judge.py").is_file()
    assert provenance.source_digest() in provenance.producer()


def test_a_chunk_of_another_producer_counts_as_damaged(tmp_path):
    path = seal(tmp_path, "key", ".bin", b"content", "quadsim 1")
    assert SealedFiles(tmp_path, "quadsim 1").get("key") == path
    assert SealedFiles(tmp_path, "quadsim 2").get("key") is None


def test_the_commit_is_that_of_the_repository_which_tracks_the_sources(monkeypatch):
    commit = provenance.commit.__wrapped__
    answers = {"ls-files": "provenance.py", "describe": "0123456789ab-dirty"}
    monkeypatch.setattr(provenance, "_git", lambda folder, what, *rest: answers[what])
    monkeypatch.setattr(provenance, "version", lambda name: "0.2.0.dev3+g89abcdef0.d20260102")
    assert commit() == "0123456789ab-dirty"
    answers["ls-files"] = ""  # an environment that lies in the repository of another project
    assert commit() == "89abcdef0"
    monkeypatch.setattr(provenance, "version", lambda name: "0.2.0")
    assert commit() == "unknown"


def test_git_that_fails_or_is_missing_says_nothing(tmp_path, monkeypatch):
    assert provenance._git(tmp_path, "describe", "--always") == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance._git(tmp_path, "--version") == ""
