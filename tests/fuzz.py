"""Hostile input: configurations, options, result folders and stored documents, mutated at random.

    python tests/fuzz.py --inputs 100000 [--seed 0] [--target NAME]

Whatever comes, a reader may accept it or refuse it in one line (ValueError); anything else is a crash, and so is an input that takes more
than 20 seconds or more than 8 GB. Prints a row for every target, and the first crashes with the seed that repeats them.
"""

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

SECONDS = 20
BYTES = 8 << 30
SCALARS = [
    None, True, False, 0, -1, 1, 2, 3.5, 1e-320, 1e308, float("inf"), float("nan"), -0.0, 10**15, 10**30, -(10**30), "", "x", "nan", "inf",
    "1e999", "0x10", "\u0661", "\x00", "\ud800", "<script>alert(1)</script>", "../../etc/passwd", "/etc/passwd", "a" * 5000, "\n\r\t",
    "gd:lr=1", "adam:beta1=2", "adam:beta1", "token-map:vocabulary=0", "cosine:warmup=-1", "cuda:99", "{}", "=", ":", ",", "quadratic", "model",
]  # fmt: skip
_RARE = ["[]", "{}", "[[]]", "[null]", '{"a": {"b": {}}}', f"[{'1,' * 1000}1]", '{"": ""}']


def hostile(draw: random.Random) -> Any:
    """A value where another was expected."""
    if draw.random() < 0.8:
        return draw.choice(SCALARS)
    if draw.random() < 0.9:
        return json.loads(draw.choice(_RARE))
    return f"@deep {draw.choice([5, 40, 200, 2000, 100_000])}@"


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values inside a document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(document: Any, draw: random.Random) -> Any:
    """A copy with a few values replaced, dropped, added or moved."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        known = list(places(copy))
        if not known or draw.random() < 0.02:
            return hostile(draw)
        *way, last = draw.choice(known)
        holder = copy
        for key in way:
            holder = holder[key]
        what = draw.random()
        if what < 0.7:
            holder[last] = hostile(draw)
        elif what < 0.8:
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw.choice(["kind", "model", "extra", "", "seeds", str(last) + "x"])] = hostile(draw)
        else:
            holder.append(hostile(draw))
    return copy


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut, doubled or put in."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        at = draw.randrange(len(data) + 1)
        what = draw.random()
        if what < 0.5 and data:
            data[min(at, len(data) - 1)] = draw.randrange(256)
        elif what < 0.7:
            del data[at:]
        elif what < 0.85:
            data[at:at] = draw.choice([
                b"\x00",
                b"\xff" * 8,
                b'"',
                b"}",
                b"[" * 3000,
                b"1e999",
                "é".encode(),
                bytes(range(256)),
            ])
        else:
            data[at:at] = data[at // 2 : at]
    return bytes(data)


def text_of(document: Any, draw: random.Random) -> bytes:
    """A mutated document as bytes, sometimes damaged as bytes too."""
    text = json.dumps(mutated(document, draw))
    text = re.sub(r'"@deep (\d+)@"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), text)
    content = text.encode()
    return damaged(content, draw) if draw.random() < 0.3 else content


VALID: list[dict[str, str]] = [
    {},
    {"heterogeneity": "1,10,100", "optimizers": "gd,adam:beta1=0", "seeds": "4", "steps": "100"},
    {"mode": "arrange", "heterogeneity": "3,30", "block_size": "1+4+9", "rotation": "0,1"},
    {"gradient_heterogeneity": "10", "alignment": "-1,0,1", "heterogeneity": "100", "lr": "0.1,0.2"},
    {"coupling": "0,0.3", "partition": "shifted", "heterogeneity": "10", "optimizers": "adam-mini,block-gd"},
    {"case": "heterogeneous,cnn-like", "schedule": "cosine:warmup=10", "keep": "quantiles", "tolerance": "0.01"},
    {
        "model": "transformer,mlp",
        "task": "token-map:vocabulary=16",
        "dial": "frequency",
        "norm": "pre,none",
        "layers": "1",
    },
    {"model": "conv", "kernel": "3", "task": "text-char", "evaluate_every": "5", "dtype": "float64"},
]
"""Options that make a configuration."""

USUAL = [
    "1",
    "10",
    "100",
    "0.5",
    "-1",
    "0",
    "3",
    "gd",
    "adam:beta1=0",
    "lion",
    "mlp",
    "pre",
    "1+4+9",
    "zipf",
    "digits",
    "float32",
]


class Corpus:
    """Configurations, and small finished results of every kind, which are made once, when a target first wants some."""

    def __init__(self, folder: Path) -> None:
        from quadsim.simulator import SweepConfig
        from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig

        self._folder = folder
        small: dict[str, Any] = {"seeds": 2, "steps": 30, "lr_density": 1}
        self.configs = [
            SweepConfig(heterogeneity=(1, 10), **small),
            SweepConfig(heterogeneity=(10,), keep="quantiles", **small),
            ModelSweepConfig(model=("mlp",), heterogeneity=(1, 10), seeds=1, steps=5, lr_density=1),
        ]

    @cached_property
    def folder(self) -> Path:
        """The folder of the results."""
        from quadsim.cli.pages import write_report
        from quadsim.cli.text.verification import verification_document
        from quadsim.simulator import sweep
        from quadsim.simulator.support.provenance import provenance
        from quadsim.theory import judge
        from quadsim.theory.claims import reproduce
        from quadsim.theory.verifying.verification import verify

        folder = self._folder
        for number, config in enumerate(self.configs):
            sweep(config, judge if config.kind == "quadratic" else None, out=folder / f"sweep{number}")
        reproduce(["gd-lower-unsquared", "covariance-identity"], size="tiny", out=folder / "claims")
        reports, claims = verify(("gd-upper",), problems=5, search=0)
        (folder / "verify").mkdir()
        kept = verification_document(reports, claims) | {"asked": {}, "manifest": provenance(1.0)}
        (folder / "verify" / "verify.json").write_text(json.dumps(kept))
        write_report(folder / "claims", figures=False)
        return folder

    def copy(self, name: str, where: Path) -> Path:
        """A folder of results to be damaged."""
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(self.folder / name, where)
        return where


def fuzz_config(corpus: Corpus, draw: random.Random, scratch: Path) -> None:
    """config.json, given with --config."""
    from quadsim.simulator.support import store
    from quadsim.simulator.sweeps.config.families import config_from_json

    path = scratch / "config.json"
    path.write_bytes(text_of(draw.choice(corpus.configs).to_json(), draw))
    config = config_from_json(store.read_json(path, "config"))
    assert config.runs > 0
    assert config_from_json(config.to_json()).digest == config.digest


def fuzz_options(corpus: Corpus, draw: random.Random, scratch: Path) -> None:
    """Options of the command line, lists above all."""
    from quadsim.cli.commands.sweep_options import READERS, config_from_texts

    texts = dict(draw.choice(VALID))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        name = draw.choice(sorted(texts) if texts and draw.random() < 0.8 else sorted(READERS))
        items = texts[name].split(",") if name in texts and draw.random() < 0.5 else []
        items += [str(draw.choice(SCALARS if draw.random() < 0.4 else USUAL)) for _ in range(draw.choice([1, 1, 2, 5]))]
        texts[name] = draw.choice([",", ",", ",", "+", ":", ", ,"]).join(items)
    config = config_from_texts(texts)
    assert config.runs > 0


def fuzz_folder(corpus: Corpus, draw: random.Random, scratch: Path) -> None:
    """A folder of results from a stranger, whose checksums may be right."""
    from quadsim.cli.pages import write_report
    from quadsim.simulator import load_results
    from quadsim.simulator.support import store

    folder = corpus.copy(f"sweep{draw.randrange(len(corpus.configs))}", scratch / "folder")
    name = draw.choice([store.CONFIG, store.MANIFEST, store.SUMMARY, store.HISTOGRAM])
    path = folder / name
    if path.is_file():
        if path.suffix == ".json":
            path.write_bytes(text_of(json.loads(path.read_text()), draw))
        else:
            path.write_bytes(damaged(path.read_bytes(), draw))
    if name != store.MANIFEST and draw.random() < 0.7:
        manifest = json.loads((folder / store.MANIFEST).read_text())
        manifest["files"][name] = store.checksum(path) if path.is_file() else ""
        (folder / store.MANIFEST).write_text(json.dumps(manifest))
    load_results(folder)
    if draw.random() < 0.2:
        write_report(folder, figures=False)


def fuzz_documents(corpus: Corpus, draw: random.Random, scratch: Path) -> None:
    """claims.json and verify.json of a stranger, made into a page."""
    from quadsim.cli.pages import write_report

    kind = draw.choice(["claims", "verify"])
    folder = corpus.copy(kind, scratch / "folder")
    path = folder / f"{kind}.json"
    path.write_bytes(text_of(json.loads(path.read_text()), draw))
    page = write_report(folder, figures=False).read_text(encoding="utf-8")
    assert "<script>alert" not in page


TARGETS: dict[str, Callable[[Corpus, random.Random, Path], None]] = {
    "config": fuzz_config,
    "options": fuzz_options,
    "folder": fuzz_folder,
    "documents": fuzz_documents,
}
SHARES = {"config": 0.47, "options": 0.47, "folder": 0.03, "documents": 0.03}
"""Of the inputs; the last two cost most."""


@contextmanager
def limits() -> Iterator[None]:
    """No input may take long."""

    def late(signum: int, frame: Any) -> None:
        raise RuntimeError(f"it took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_one(target: str, number: int, seed: int, corpus: Corpus, scratch: Path) -> str:
    """What became of one input: `accepted`, `refused`, or the crash in words."""
    draw = random.Random(f"{target} {seed} {number}")
    signal.alarm(SECONDS)
    try:
        TARGETS[target](corpus, draw, scratch)
        return "accepted"
    except ValueError as error:
        text = str(error)
        # UnicodeError and the like are ValueErrors too, but no sentence for a user.
        ours = type(error) is ValueError and "got" in text
        return "refused" if ours else f"no sentence: {type(error).__name__}: {text[:200]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:150]} at {Path(last.filename).name}:{last.lineno}"
    finally:
        signal.alarm(0)


def main(arguments: list[str]) -> int:
    """Run, print, and exit with 1 if anything crashed."""
    import resource

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=sorted(TARGETS))
    asked = parser.parse_args(arguments)
    crashes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place, limits():
        corpus, scratch = Corpus(Path(place) / "corpus"), Path(place) / "scratch"
        scratch.mkdir()
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        for target in [asked.target] if asked.target else TARGETS:
            total = asked.inputs if asked.target else round(asked.inputs * SHARES[target])
            counts: Counter[str] = Counter()
            for number in range(total):
                found = try_one(target, number, asked.seed, corpus, scratch)
                counts[found if found in ("accepted", "refused") else "crashed"] += 1
                if found not in ("accepted", "refused"):
                    crashes.setdefault(f"{target}: {found}", []).append(str(number))
            said = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "refused", "crashed"))
            print(f"{target:10} {total:8} inputs: {said}", flush=True)
    for crash, numbers in list(crashes.items())[:40]:
        print(f"{crash} ({len(numbers)} times; inputs {', '.join(numbers[:3])} of seed {asked.seed})")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
