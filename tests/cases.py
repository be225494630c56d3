"""Tables that several tests walk through.

A new optimizer or toy model gets one line here; a test that walks every one of them then covers it, and a test of the
table says so where the line is missing.
"""

from dataclasses import dataclass
from pathlib import Path

from quadsim.simulator import grid
from quadsim.simulator.models import MLP, Conv, Mixer, Model, ResNet, Transformer


def own_file(name):
    """The path of a file of optimizers, `FILE.py` or `FILE.py:NAME`, that `quadsim sweep --optimizer-file` takes."""
    return str(Path(__file__).parent / "own_optimizers" / name)


BAD_SWEEPS: list[tuple[list[str], str]] = [
    (["--heterogeneity", "0.5"], r"heterogeneity must be a number of at least 1, got 0.5"),
    (["--heterogeneity", "inf"], r"heterogeneity must be a number .* got inf"),
    (["--heterogeneity", "nan"], r"heterogeneity must be a number .* got nan"),
    (["--heterogeneity", "ten"], r"heterogeneity must be a number .* got 'ten'"),
    (["--heterogeneity", ""], r"heterogeneity must hold at least one value, got an empty list"),
    (["--heterogeneity", "1", "--optimizers", ","], r"optimizers must hold at least one value"),
    (["--blocks", "0"], r"blocks must be a whole number of at least 1, got 0"),
    (["--block-size", "0"], r"block size must be a whole number of at least 1, got 0"),
    (["--block-size", "1+x"], r"block size must be a whole number of at least 1, got 'x'"),
    (["--blocks", "2", "--block-size", "1+4+9"], r"blocks must equal the number of block sizes \(3\), got 2"),
    (["--seeds", "0"], r"seeds must be a whole number of at least 1, got 0"),
    (["--seeds", "2.5"], r"seeds must be a whole number of at least 1, got 2.5"),
    (["--steps", "0"], r"steps must be a whole number of at least 1, got 0"),
    (["--seed", "-1"], r"seed must be a whole number of at least 0, got -1"),
    (["--lr-density", "0"], r"lr density must be a whole number of at least 1, got 0"),
    (["--optimizers", "gd,adma"], r"optimizer must be one of .* got 'adma'; did you mean 'adam'\?"),
    (["--optimizers", "adam:beta3=0"], r"hyperparameter of adam must be one of .* did you mean 'beta[12]'\?"),
    (["--optimizers", "adam:beta1=1"], r"beta1 must be a number in \[0, 1\), got 1"),
    (["--optimizers", "adam:beta1"], r"optimizer must be NAME or NAME:key=value, got 'adam:beta1'"),
    (
        ["--optimizers", "adam:beta1=0|0.5:beta1=0.9"],
        r"optimizer must have every option once, got beta1 twice in 'adam:beta1=0:beta1=0.9'; leave one out",
    ),
    (["--optimizers", "adam:lr=1"], r"lr must be given for all optimizers alike"),
    (["--optimizers", "gd:beta1=0"], r"hyperparameter of gd must not be given, as there is none, got 'beta1'"),
    (["--optimizers", "gd|adam"], r"optimizer must be NAME:key=value\|value, got 'gd\|adam'; put a comma"),
    (
        ["--optimizers", "adam:beta1=0||0.9"],
        r"beta1 of adam must be value\|value, got '0\|\|0.9'; give a value on both sides",
    ),
    (["--optimizers", "adam:beta1=0|1"], r"beta1 must be a number in \[0, 1\), got 1"),
    (["--optimizers", "adam:beta1=0|x"], r"beta1 of adam must be a number.*, got 'x'"),
    (["--optimizers", "adam:beta3=0|1"], r"hyperparameter of adam must be one of .* did you mean 'beta[12]'\?"),
    (["--optimizers", "beta1=0,adam"], r"optimizer must be NAME or NAME:key=value:key=value, got 'beta1=0'"),
    (
        ["--optimizers", "gd,momentum=0|0.9"],
        r"hyperparameter of gd must not be given, as there is none, got 'momentum'",
    ),
    (["--until", "stay"], r"until must be one of first, stays, mean, got 'stay'; did you mean 'stays'\?"),
    (["--until", "mean", "--keep", "quantiles"], r"until must be first or stays where counts are kept, got 'mean'"),
    (["--select-on", "third"], r"select on must be one of all, half, got 'third'"),
    (["--select-on", "half", "--seeds", "1"], r"seeds must be at least 2 to choose on half of them, got 1; give more"),
    (["--select-on", "half", "--keep", "quantiles"], r"select on must be all where counts are kept.*got 'half'"),
    (["--problem-file", "missing.npz"], r"problem file must exist, got .*missing\.npz; check the name"),
    (["--problem-file", "blocks.txt"], r"problem file must end in \.npz, \.mtx, \.json, got blocks\.txt"),
    (["--problem-file", ""], r"problem file must be the name of a file or folder"),
    (
        ["--problem-file", "b.npz", "--heterogeneity", "3"],
        r"--heterogeneity must be left out with --problem-file, which fixes",
    ),
    (["--problem-file", "b.npz", "--case", "homogeneous"], r"--case must be left out with --problem-file"),
    (["--problem-file", "b.npz", "--block-size", "3"], r"block size must be sizes that divide the matrix .* as 10\+20"),
    (
        ["--start", "normal"],
        r"start must come with a problem of your own, got 'normal' without one; add --problem-file",
    ),
    (["--mode", "scaled"], r"mode must be one of scale, arrange, got 'scaled'; did you mean 'scale'\?"),
    (["--case", "homogenous"], r"case must be one of .* did you mean 'homogeneous'\?"),
    (["--case", ""], r"case must hold at least one name"),
    (["--schedule", "cosin"], r"schedule must be one of .* did you mean 'cosine'\?"),
    (["--schedule", "cosine:warm=3"], r"schedule must be NAME or NAME:warmup=STEPS"),
    (["--schedule", "wsd:decay=1.5"], r"decay of the schedule must be .*, got 1.5"),
    (["--schedule", "wsd:decay=0"], r"decay of the schedule must be above 0, got 0"),
    (["--schedule", "inverse-time:half=-3"], r"half of the schedule must be above 0, got -3"),
    (["--schedule", "cosine:decay=0.2"], r"decay must be given to the schedule wsd alone, got cosine"),
    (["--optimizers", "gd:schedule=wsd+half=3"], r"half must be given to the schedule inverse-time alone, got wsd"),
    (["--optimizers", "gd:schedule=wsdd"], r"schedule must be one of .* did you mean 'wsd'\?"),
    (
        ["--optimizers", "gd:schedule=wsd+warmup=10000"],
        r"warm-up must be below the number of steps \(10000\), got 10000",
    ),
    (
        ["--optimizers", "adam:beta2_samples=100"],
        r"beta2_samples must come with a batch of samples, got adam:beta2_samples=100",
    ),
    (["--batch", "8,full", "--optimizers", "adam:beta2_samples=9"], r"beta2_samples must come with a batch of samples"),
    (["--batch", "8", "--optimizers", "adam:beta2_samples=0"], r"beta2_samples of adam must be .*, got 0"),
    (
        ["--batch", "8", "--optimizers", "adam:beta2_samples=9:beta2=0.9"],
        r"beta2_samples of adam must not be given beside beta2",
    ),
    (
        ["--batch", "8", "--optimizers", "gd:beta2_samples=9"],
        r"beta2_samples must be given to an optimizer with beta2, got gd",
    ),
    (["--model", "transformer", "--batch", "0"], r"batch must be .*, got 0"),
    (
        ["--model", "transformer", "--task", "text-char:batch=4", "--batch", "8"],
        r"batch must be given once, got 8 beside text-char",
    ),
    (
        ["--model", "transformer", "--optimizers", "adam:beta2_samples=9"],
        r"beta2_samples must come with a batch of samples",
    ),
    (["--schedule", "cosine:warmup=10000"], r"warm-up must be below the number of steps \(10000\), got 10000"),
    (["--dtype", "float16"], r"dtype must be one of float32, float64, got 'float16'"),
    (["--keep", "foo"], r"keep must be one of rows, quantiles, got 'foo'"),
    (["--keep", ""], r"keep must be one of rows, quantiles, got ''"),
    (["--keep", "rows", "--seeds", "1000000000"], r"grid must fit in memory .* use --keep quantiles"),
    (["--lr", "0"], r"lr must be a number above 0, got 0"),
    (["--lr", "0.1,-1"], r"lr must be a number above 0, got -1"),
    (["--lr", ""], r"lr must hold at least one value"),
    (["--tolerance", "0"], r"tolerance must be a number in \(0, 1\), got 0"),
    (["--tolerance", "1"], r"tolerance must be a number in \(0, 1\), got 1"),
    (["--rotation", "1.5"], r"rotation must be a number in \[0, 1\], got 1.5"),
    (["--gradient-heterogeneity", "0.5"], r"gradient heterogeneity must be a number of at least 1, got 0.5"),
    (["--coupling", "0,1"], r"coupling must be a number in \[0, 1\), got 1"),
    (["--coupling=-0.1"], r"coupling must be a number in \[0, 1\), got -0.1"),
    (["--coupling", "nan"], r"coupling must be a number in \[0, 1\), got nan"),
    (["--coupling", "0.3", "--blocks", "1", "--heterogeneity", "1"], "coupling must be 0 with one block, got 0.3"),
    (["--coupling", "0.3", "--model", "mlp"], "--coupling must be left out with --model"),
    (["--partition", "modules"], "partition must be one of hessian, finer, coarser, shifted, got 'modules'"),
    (["--partition", "finer", "--block-size", "1"], "partition finer must differ from the blocks"),
    (
        ["--partition", "shifted", "--blocks", "1", "--heterogeneity", "1"],
        "partition shifted must differ from the blocks",
    ),
    (["--partition", "shifted", "--model", "mlp"], "partition must be one of layer, module, unit"),
    (["--gradient-heterogeneity", "3", "--alignment", "2"], r"alignment must be a number in \[-1, 1\], got 2"),
    (
        ["--heterogeneity", "1", "--gradient-heterogeneity", "3", "--alignment", "1"],
        r"alignment needs a heterogeneity above 1, got 1",
    ),
    (["--heterogeneity", "1", "--alignment", "-1,0"], r"alignment needs a heterogeneity above 1, got 1"),
    (
        ["--heterogeneity", "5,9", "--alignment", "1", "--gradient-heterogeneity", "1"],
        r"alignment needs a gradient heterogeneity above 1, got 1; raise it or leave alignment out",
    ),
    (
        ["--heterogeneity", "5", "--blocks", "2", "--gradient-heterogeneity", "3", "--alignment", "0"],
        r"alignment must be -1 or 1 with two blocks, got 0",
    ),
    (["--condition-number", "0.5"], r"condition number must be a number of at least 1, got 0.5"),
    (["--condition-number", "10", "--block-size", "1"], r"condition number of a block must be 1 .* got 10"),
    (["--blocks", "1"], r"heterogeneity must be 1 with one block, got 10"),
    (["--mode", "arrange", "--heterogeneity", "5000"], r"from 2.28 \(interleaved.* to 730.7 \(sorted\).* got 5000"),
    (["--engine", "closed-form"], r"engine for signsgd must be one of auto, fused, reference here, got 'closed-form'"),
    (["--engine", "fussed"], r"engine must be one of auto, closed-form, fused, reference"),
    (["--device", "cuda:99"], r"device cuda:99 must exist, got a machine on which torch sees \d+ GPUs"),
    (["--device", "tpu"], r"device must be cpu, cuda or cuda:N, got 'tpu'"),
    (
        ["--seeds", "100000000", "--keep", "rows"],
        r"grid must fit in memory \(.* got one that needs about .* for 16,200,000,000 runs",
    ),
    (["--block-size", "1000000"], r"block size must fit in memory .* got 1000000, whose matrix alone needs 8 TB"),
    (["--case", "cnn-like", "--blocks", "3"], r"--blocks must be left out with --case, which fixes it"),
    (["--case", "cnn-like", "--heterogeneity", "3"], r"--heterogeneity must be left out with --case"),
    (["--optimizer-file", "mine.py"], r"optimizer file must be a file that can be read, got 'mine.py'"),
    (["--optimizer-file", "mine.txt"], r"optimizer file must be FILE.py or FILE.py:NAME, got 'mine.txt'"),
    (["--optimizer-file", ","], r"optimizer file must name at least one file, got an empty list"),
    (["--optimizer-file", own_file("raises.py")], r"must run without an error, got KeyError: 'beta' in line 3 of"),
    (["--optimizer-file", own_file("empty.py")], r"must define a Rule or a class .*, got none in"),
    (["--optimizer-file", own_file("mine.py:NADAM")], r"must define NADAM, got AMSGRAD, MyNAdam; name one"),
    (["--optimizer-file", own_file("clash.py")], r"must not be that of a built-in one, got 'adam'; rename it"),
    (
        ["--optimizer-file", f"{own_file('mine.py')},{own_file('other.py')}"],
        r"optimizers must differ in name, got two that are called 'my-amsgrad'",
    ),
    (["--optimizer-file", own_file("sparse.py")], r"must step on dense gradients, got Sparse: SparseAdam does not"),
    (["--optimizer-file", own_file("broken.py")], r"must take a step without an error, got AttributeError from Broken"),
    (
        ["--optimizer-file", own_file("mine.py"), "--optimizers", "my-amsgrad:beta3=0"],
        r"hyperparameter of my-amsgrad must be one of .* did you mean 'beta[12]'\?",
    ),
    (
        ["--optimizer-file", own_file("mine.py"), "--optimizers", "MyNAdam:beta1=2"],
        r"optimizer must make one from .* Invalid beta parameter",
    ),
    (
        ["--optimizer-file", own_file("mine.py"), "--optimizers", "gd,adam"],
        r"optimizers must name one of my-amsgrad, MyNAdam with --optimizer-file, got gd, adam",
    ),
    (
        ["--optimizer-file", own_file("mine.py"), "--model", "mlp"],
        r"optimizer must be a rule here, got the torch class MyNAdam, which has no formula; leave it out",
    ),
]
"""Options of `quadsim sweep` and what the one line says: what, allowed, got, fix."""

BAD_EXPLORATIONS: list[tuple[list[str], str]] = [
    (["--optimizers", "gd,adma"], r"optimizer must be one of .* got 'adma'; did you mean 'adam'\?"),
    (["--optimizers", "adam:beta1=1"], r"beta1 must be a number in \[0, 1\), got 1"),
    (["--optimizers", ","], r"optimizers must name 1 to 4 optimizers, got 0; "),
    (
        ["--optimizers", "gd,adam,lion,signum,nadam"],
        r"optimizers must name 1 to 4 optimizers, got 5; the others can be",
    ),
    (["--optimizer-file", "mine.txt"], r"optimizer file must be FILE.py or FILE.py:NAME, got 'mine.txt'"),
    (
        ["--optimizer-file", own_file("mine.py:MyNAdam")],
        r"must define a Rule, .* got the torch class MyNAdam; write its step",
    ),
    (["--out", "missing/page.html"], r"out must be a file that can be written, got .*page.html \(No such file"),
]
"""Options of `quadsim explore` that are refused, and what the line says."""

BAD_EXTENSIONS: list[tuple[list[str], str]] = [
    (["--extend", "a", "--steps", "8"], r"steps must be 300 as in the sweep that is extended, got 8; leave it out"),
    (["--extend", "a", "--tolerance", "1e-3"], r"tolerance must be 1e-06 as in the sweep that is extended, got 0.001"),
    (["--extend", "a", "--dtype", "float32"], r"dtype must be float64 as in the sweep that is extended, got float32"),
    (["--extend", "a", "--select-on", "half"], r"select on must be all as in the sweep that is extended, got half"),
    (["--extend", "a", "--lr", "0.1"], r"lr must be None as in the sweep that is extended, got \(0.1,\); leave it out"),
    (["--extend", "a", "--case", "cnn-like"], r"heterogeneity must be left out with a case|case must be \(\)"),
    (
        ["--extend", "a", "--model", "mlp"],
        r"model must be left out where a sweep on quadratics is extended, .* drop it",
    ),
    (
        ["--extend", "a", "--seeds", "4"],
        r"seeds must be at least those of the sweep that is extended \(5\), got 4; give more",
    ),
    (["--extend", "a", "--lr-density", "6"], r"lr density must be a multiple .* \(4\), got 6; give 8"),
    (["--extend", "a", "--optimizers", "adma"], r"optimizer must be one of .* got 'adma'; did you mean 'adam'\?"),
    (["--extend", "a", "--heterogeneity", "0.5"], r"heterogeneity must be a number of at least 1, got 0.5"),
    (["--extend", "a", "--heterogeneity", "ten"], r"heterogeneity must be a number .* got 'ten'"),
    (
        ["--extend", "a", "--seeds", "1000000"],
        r"runs must be few enough to keep rows as the sweep that is extended, got 36,0",
    ),
    (
        ["--extend", "a", "--out", "b"],
        r"--out must be left out with --extend, which works in the folder it names, got both",
    ),
    (["--extend", "a", "--config", "a/config.json"], r"--config must be left out with --extend"),
    (["--extend", "a", "--optimizer-file", "mine.py"], r"--optimizer-file must be left out with --extend"),
    (["--extend", "a", "--dry-run"], r"--dry-run must be left out with --extend"),
    (
        ["--extend", "b", "--seeds", "9"],
        r"results must be a folder with a finished sweep, got .*b, which (holds no sweep|is not a folder); name one",
    ),
    (["--extend", "", "--seeds", "9"], r"extend must .* got ''"),
]
"""Options of `quadsim sweep` on a finished sweep in the folder a (tests/simulator/sweeps/test_extension.py), and the one line."""

BAD_COMPARISONS: list[tuple[list[str], str]] = [
    (["a"], r"sweeps must be 2 or 3, got 1; name A, B and perhaps C"),
    (["a", "a", "a", "a"], r"sweeps must be 2 or 3, got 4"),
    (
        ["a", "model"],
        r"sweeps must be on one family of problems, got quadratics and toy models; compare like with like",
    ),
    (["a", "other"], r"sweeps must share a point and an optimizer, got A and B without one in common; compare others"),
    (
        ["a", "unfinished"],
        r"results must be a folder with a finished sweep, got .*unfinished, whose sweep is not finished; run",
    ),
    (
        ["a", "damaged"],
        r"results must be as they were written, got .*damaged, where summary.parquet changed since; run",
    ),
    (
        ["a", "missing"],
        r"results must be a folder with a finished sweep, got .*missing, which is not a folder; name one",
    ),
    (
        ["a", "a", "--out", "b"],
        r"out must be empty or hold an earlier comparison, got .*b with other files; choose another",
    ),
]
"""Arguments of `quadsim compare` on the folders of tests/cli/test_compare.py, and the one line."""

BAD_QUESTIONS: list[tuple[list[str], str]] = [
    ([], r"SOURCE must be given, or dials with --at, got neither; as in --at heterogeneity=100"),
    (["missing"], r"SOURCE must be a folder of results or a file of blocks, got missing, which does not exist"),
    (["empty"], r"results must be a folder with a finished sweep, got .*empty, which holds no sweep; name one"),
    (["a", "--at", "heterogeneity"], r"at must be NAME=VALUE, got 'heterogeneity'; write for example"),
    (["a", "--at", "=1"], r"at must be NAME=VALUE, got '=1'"),
    (["a", "--at", "heterogeneity=x"], r"heterogeneity of at must be a number, got 'x'; write for example"),
    (["a", "--at", "heterogeneity=nan"], r"heterogeneity of at must be a number, got 'nan'"),
    (
        ["a", "--at", "momentum=1"],
        r"at must name a dial of the sweep \(heterogeneity, .*\), got 'momentum'; choose one",
    ),
    (["a", "--at", "mode=scale", "--at", "mode=scale"], r"at must name mode once, got it twice; leave one out"),
    (["--at", "hetrogeneity=1"], r"at must be one of .*, got 'hetrogeneity'; did you mean 'heterogeneity'\?"),
    (["--at", "heterogeneity=0.5"], r"heterogeneity must be a number of at least 1, got 0.5"),
    (["inspection", "--at", "mode=scale"], r"--at must be left out for an inspection, .*, got mode; drop it"),
    (["study"], r"SOURCE must be a folder of quadsim inspect without --study, got .*study; inspect a model"),
    (["blocks.npz"], r"problem.file must .*blocks.npz"),
]
"""Arguments of `quadsim which` on the folders of tests/cli/test_which.py, and the one line."""

BAD_EXPORTS: list[tuple[list[str], str]] = [
    (["gd-upper", "--format", "pdf"], r"format must be one of latex, markdown, lean-sketch, json, got 'pdf'"),
    (["--format", "json"], r"--format must come with the NAME of a theorem, got none; as in quadsim theorems gd-upper"),
    (["gd-uper", "--format", "json"], r"theorem must be one of .*, got 'gd-uper'; did you mean 'gd-upper'\?"),
    (["gd-uper", "--bibtex"], r"theorem must be one of .*, got 'gd-uper'"),
    (["gd-upper", "--format", "json", "--json"], r"--format must stand alone, got --json; leave one out"),
    (["gd-upper", "--format", "json", "--bibtex"], r"--format must stand alone, got --bibtex; leave one out"),
    (["--bibtex", "--for", "gd"], r"--bibtex must stand alone, got --for; leave one out"),
]
"""Arguments of `quadsim theorems`, and the one line."""

BAD_PARTS: list[tuple[list[str], str]] = [
    (
        ["a", "--only", "optimizer=adam"],
        r"optimizer must be one of gd, heavy-ball here, got 'adam'; choose some of these",
    ),
    (["a", "--only", "optimizer="], r"optimizer must be one of gd, heavy-ball here, got no value"),
    (["a", "--only", "heterogeneity=3"], r"heterogeneity must be one of 1, 10 here, got '3'"),
    (["a", "--only", "seeds=3"], r"only must name one of optimizer, heterogeneity, .* got 'seeds'; choose one"),
    (["a", "--only", "gd"], r"only must be NAME=value,value, got 'gd'; write for example optimizer=adam,gd"),
    (
        ["a", "--only", "optimizer=gd", "--only", "optimizer=gd"],
        r"only must name optimizer once, got it twice; put all",
    ),
    (["a", "--out", "c"], r"--out must be left out without --only"),
    (
        ["a" * 300],
        r"DIR must be the name of a file or folder, each part of at most 255 bytes, got a{40}\.\.\.; shorten it",
    ),
    (
        ["a", "--only", "optimizer=gd", "--out", "b/" + "é" * 128],
        r"out must be the name of a .*, got b/é{38}\.\.\.; shorten it",
    ),
    (
        ["a", "--only", "optimizer=gd", "--out", "b"],
        r"out must be empty or hold an earlier part, got .*b with other files",
    ),
    (
        ["unfinished", "--only", "optimizer=gd"],
        r"a result folder must hold one of .*, got .*unfinished with an unfinished",
    ),
]
"""Arguments of `quadsim report` on the same folders, and the one line."""


def with_defaults(defaults, arguments):
    """The arguments after those defaults, name and value in turn, that they do not give: an option may be given only once."""
    pairs = zip(defaults[::2], defaults[1::2], strict=True)
    return [*(word for pair in pairs if pair[0] not in arguments for word in pair), *arguments]


@dataclass(frozen=True)
class OptimizerCase:
    """What the tests know of an optimizer, independently of its rule: how it is run, and where.

    Attributes:
        kind: `linear`, `separable` or `global`, as `Rule.kind` must have it.
        steps: for how many steps the engines are compared with `tests/reference.py`.
        settings: at which hyperparameters, one list a name.
    """

    kind: str
    steps: int
    settings: dict[str, list[float]]


WHOLE, EARLY = 600, 50
OPTIMIZERS = {
    "gd": OptimizerCase("linear", WHOLE, grid(lr=[0.1, 1.0, 1.9])),
    "sgd": OptimizerCase("linear", WHOLE, grid(lr=[0.1, 1.0])),
    "heavy-ball": OptimizerCase("linear", WHOLE, grid(lr=[0.1, 1.5], momentum=[0.0, 0.9])),
    "nesterov": OptimizerCase("linear", WHOLE, grid(lr=[0.1, 1.0], momentum=[0.3, 0.9])),
    "block-gd": OptimizerCase("linear", WHOLE, grid(lr=[0.1, 1.0])),
    "adam-frozen": OptimizerCase("linear", WHOLE, grid(lr=[0.001, 0.02])),
    "signsgd": OptimizerCase("separable", WHOLE, grid(lr=[0.001, 0.03])),
    "sign-lambda": OptimizerCase("global", EARLY, grid(lr=[0.3, 1.0])),
    "signum": OptimizerCase("separable", WHOLE, grid(lr=[0.001, 0.03], momentum=[0.0, 0.5, 0.9])),
    "lion": OptimizerCase(
        "separable",
        WHOLE,
        {
            "lr": [0.001, 0.03, 0.01],
            "beta1": [0.0, 0.9, 0.5],
            "beta2": [0.5, 0.99, 0.0],
            "weight_decay": [0.0, 0.3, 1.0],
        },
    ),
    "gd-lambda": OptimizerCase("global", EARLY, grid(lr=[0.3, 1.0, 1.9])),
    "normalized-gd": OptimizerCase("global", EARLY, grid(lr=[0.001, 0.03])),
    "rmsprop": OptimizerCase(
        "separable", EARLY, {"lr": [0.003, 0.1, 0.002], "beta2": [0.99, 0.5, 0.9], "eps": [1e-8, 0.3, 0.0]}
    ),
    "adam": OptimizerCase(
        "separable",
        EARLY,
        {"lr": [0.01, 0.1, 0.003], "beta1": [0.9, 0.0, 0.5], "beta2": [0.999, 0.9, 0.99], "eps": [1e-8, 0.3, 0.0]},
    ),
    "adamw": OptimizerCase(
        "separable", EARLY, {"lr": [0.01, 0.03, 0.03], "beta1": [0.9, 0.0, 0.9], "weight_decay": [0.0, 0.3, 1.0]}
    ),
    "adam-mini": OptimizerCase(
        "separable", EARLY, {"lr": [0.01, 0.03, 0.01], "beta1": [0.9, 0.0, 0.5], "beta2": [0.999, 0.9, 0.99]}
    ),
    "adagrad": OptimizerCase("separable", EARLY, {"lr": [0.03, 1.0, 0.3], "eps": [1e-10, 0.3, 0.0]}),
    "rmsprop-centered": OptimizerCase(
        "separable", EARLY, {"lr": [0.003, 0.01, 0.002], "beta2": [0.99, 0.5, 0.9], "eps": [1e-8, 0.3, 1e-3]}
    ),
    "amsgrad": OptimizerCase(
        "separable",
        EARLY,
        {"lr": [0.01, 0.1, 0.003], "beta1": [0.9, 0.0, 0.5], "beta2": [0.999, 0.9, 0.99], "eps": [1e-8, 0.3, 0.0]},
    ),
    "nadam": OptimizerCase(
        "separable",
        EARLY,
        {
            "lr": [0.01, 0.1, 0.003],
            "beta1": [0.9, 0.0, 0.5],
            "eps": [1e-8, 0.3, 0.0],
            "momentum_decay": [0.004, 1.0, 0.0],
        },
    ),
    "clipped-gd": OptimizerCase("global", EARLY, {"lr": [0.1, 1.0, 0.3], "max_norm": [1.0, 0.1, 10.0]}),
    "sgdw": OptimizerCase("separable", WHOLE, {"lr": [0.1, 1.5], "momentum": [0.0, 0.9], "weight_decay": [0.01, 0.3]}),
    "lamb": OptimizerCase(
        "separable", EARLY, {"lr": [0.01, 0.003, 0.003], "beta1": [0.9, 0.7, 0.5], "weight_decay": [0.0, 0.3, 0.01]}
    ),
}
"""Every built-in optimizer: a new one gets a line here and a step in `tests/reference.py`, and every test walks it."""

MODELS: dict[str, Model] = {
    "transformer": Transformer(width=6, layers=2, heads=3),
    "mlp": MLP(width=5),
    "conv": Conv(width=6, kernel=3),
    "mixer": Mixer(width=5),
    "resnet": ResNet(width=6, layers=1),
}
"""A small instance of every toy model: a new one gets a line here and torch modules in `cli/bench/modules.py`."""


def registered(table, registry, name):
    """Fail with the names that the table of this file and a registry of the product do not share."""
    missing, unknown = sorted(set(registry) - set(table)), sorted(set(table) - set(registry))
    assert not missing, f"tests/cases.py: {name} lacks {', '.join(missing)}; add a line for each"
    assert not unknown, f"tests/cases.py: {name} holds {', '.join(unknown)}, which the product does not register"


LEMMAS_ONLY = frozenset([
    "block-gd-coupled",
    "block-gd-at-coupling",
    "adam-frozen-coupled",
    "gradient-descent-lemma-coupled",
    "sign-descent-lemma-coupled",
    "gradient-complexity-coupled",
    "sign-complexity-coupled",
    "steepest-descent-lemma",
    "gradient-descent-lemma-general",
    "sign-descent-lemma-general",
    "gradient-complexity-general",
    "sign-complexity-general",
    # about no run, on which the derivations' premises speak
    "layer-norm-jacobian",
    "softmax-jacobian",
    "output-row-share",
    "hidden-row-ratio",
    "adam-equal-betas",
    "frozen-momentum-edge",
])
"""Theorems whose lemmas are proved, while their statement is not derived from them by machine; no other may lack a derivation."""
