"""Chains and their figures: they change nothing of the caller's, and say what they cannot draw."""

import logging
import shutil
import sys
import warnings

import getdist.chains
import matplotlib
import numpy as np
import pytest
import yaml
from cobaya.run import run
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from matplotlib import pyplot

from iaemu_likelihood.plots import (
    corner_figure,
    corner_plot,
    load_chains,
    load_nuts,
    plot_chains,
    prediction_figure,
    predictions,
)
from iaemu_likelihood.sampling.calibration import Calibration, calibration_plot
from iaemu_likelihood.tng300.table1 import overlay_plot

MU = ["mu_cen_sample1", "mu_sat_sample1"]


def number(line, column, value):
    cells = line.split()
    cells[column] = value
    return " ".join(cells)


def settings():
    """All that is global and that a drawing function could change."""
    return (
        dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums(),
        logging.root.level, list(logging.root.handlers), sys.excepthook, list(warnings.filters),
        np.geterr(), getdist.chains.print_load_details,
    )  # fmt: skip


FUNCTIONS = {
    "corner_figure": lambda folder: corner_figure(folder / "tng300_sample1"),
    "prediction_figure": lambda folder: prediction_figure(folder / "tng300_sample1"),
    "plot_chains": lambda folder: plot_chains(folder / "tng300_sample1", suffix="pdf"),
    "load_chains": lambda folder: load_chains(folder / "tng300_sample1"),
    "load_nuts": lambda folder: load_nuts(folder / "nuts_sample1"),
    "overlay_plot": lambda folder: overlay_plot("sample1", folder),
    "calibration_plot": lambda folder: calibration_plot(
        Calibration(
            DEFAULT_SPACE,
            {"n": 50, "sample": "a", "scatter": "data"},
            {"none": np.linspace(0, 1, 100).reshape(50, 2)},
        )
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_global_state_is_left_as_it_was(name, folder):
    with matplotlib.rc_context({"font.size": 7.5}):
        pyplot.switch_backend("svg")
        try:
            mine = pyplot.figure()
            before = settings()
            FUNCTIONS[name](folder)
            assert settings() == before
            assert pyplot.gcf() is mine
        finally:
            pyplot.close("all")
            pyplot.switch_backend("agg")


def test_global_state_is_left_as_it_was_when_drawing_fails(chain):
    root, change = chain
    change(lambda lines: lines[:4])
    before = settings()
    with pytest.raises(ValueError, match=r"GetDist cannot draw \d samples"):
        corner_figure(root)
    assert settings() == before


def test_no_latex_of_a_file_is_run(folder):
    """With usetex, labels would go to LaTeX, which reads and writes files at their word."""
    with matplotlib.rc_context({"text.usetex": True}):
        assert all(path.stat().st_size > 1e4 for path in plot_chains(folder / "tng300_sample1"))


@pytest.mark.parametrize(
    "label", [r"\mu^{\mathrm{LRG_0_8}}", r"\mu_{", r"$\mu", r"\input{/etc/passwd}", "[/b]", "\x1b"]
)
def test_labels_that_cannot_be_drawn_are_names_instead(chain, label):
    root, _ = chain
    file = root.with_name(f"{root.name}.updated.yaml")
    info = yaml.safe_load(file.read_text())
    info["params"]["mu_cen_sample1"]["latex"] = label
    file.write_text(yaml.safe_dump(info, sort_keys=False))
    samples = load_chains(root)
    before = samples.parLabel("mu_cen_sample1")
    assert corner_figure(root).stat().st_size > 1e4
    corner_plot([samples]).savefig(root.with_name("again.png"))
    assert samples.parLabel("mu_cen_sample1") == before


def test_a_label_with_underscores_draws(tmp_path):
    """Of a sample called LRG_0_8, in Cobaya's own file."""
    info = {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": ["LRG_0_8"]}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": "LRG_0_8", "save_prediction": True}},
        "params": {f"{p}_LRG_0_8": x for p, x in zip(DEFAULT_SPACE.occupation.names, (12.54, 0.26, 12.68, 13.48, 1.0), strict=True)},
        "sampler": {"evaluate": None},
        "output": str(tmp_path / "chain"),
    }  # fmt: skip
    updated, _ = run(info, stop_at_error=True)
    labels = [p["latex"] for p in updated["params"].values() if "latex" in p]
    assert sum(r"LRG\_0\_8" in label for label in labels) == 7 + 12
    figure = matplotlib.figure.Figure()
    for label in labels:
        figure.text(0.5, 0.5, f"${label}$")
    figure.savefig(tmp_path / "labels.png")


def test_chains_that_never_moved_have_a_prediction_and_no_corner(chain):
    root, change = chain
    change(lambda lines: [lines[0], *[lines[1]] * 20])
    with pytest.raises(ValueError, match="nothing varies in the 14 samples"):
        corner_figure(root)
    (fit,) = predictions(root, n=5)
    (draws,) = fit.draws.values()
    assert (draws == draws[0]).all()
    assert prediction_figure(root).stat().st_size > 1e4


def test_chains_that_never_moved_a_single_sample(chain):
    root, change = chain
    change(lambda lines: lines[:2])
    with pytest.raises(ValueError, match="nothing varies in the 1 samples"):
        corner_figure(root)
    assert prediction_figure(root).stat().st_size > 1e4


def test_chains_that_never_moved_in_one_parameter(chain):
    """The prediction takes the value that it has, and not that of another column."""
    root, change = chain
    change(lambda lines: [lines[0], *(number(line, 3, "0.25") for line in lines[1:])])
    assert corner_figure(root).stat().st_size > 1e4
    samples = load_chains(root)
    assert [x.name for x in samples.paramNames.names[:1]] == MU[:1]
    (fit,) = predictions(root, n=20)
    (draws,) = fit.draws.values()
    assert len(np.unique(draws[:, 0])) > 10
    change(lambda lines: [lines[0], *(number(line, 3, "-0.5") for line in lines[1:])])
    (other,) = predictions(root, n=20)
    assert (other.draws["omega"] < draws).all()


def test_chains_that_never_moved_beside_one_that_did(chain):
    root, change = chain
    second = root.with_name(f"{root.name}.2.txt")
    shutil.copy(root.with_name(f"{root.name}.1.txt"), second)
    second.write_text("\n".join(second.read_text().splitlines()[:50]))
    change(lambda lines: [lines[0], *(number(line, 2, "0.9") for line in lines[1:])])
    with pytest.raises(ValueError, match=r"1\.txt, the longest chain, has not moved in mu_cen"):
        load_chains(root)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda x: [*x[:9], number(x[9], 2, "nan")], "mu_cen_sample1 of sample 9 is nan"),
        (lambda x: [*x[:9], number(x[9], 3, "-inf")], "mu_sat_sample1 of sample 9 is -inf"),
        (lambda x: [*x[:9], number(x[9], 1, "inf")], "minuslogpost of sample 9 is inf"),
        (lambda x: [*x[:9], number(x[9], 0, "-1")], "weight of sample 9 is -1"),
        (lambda x: [number(line, 0, "0") for line in x[1:]], "weight of sample 1 is 0"),
        (lambda x: [*x[:9], "1 2 3"], "is no table of numbers: the number of columns changed"),
        (lambda x: [*x[:9], number(x[9], 4, "[/b]")], "is no table of numbers: could not convert"),
        (lambda x: [line[:40] for line in x[1:]], r"columns; the run has 10: weight, minuslogpost, mu_cen"),
        (lambda x: x[:1], "no samples yet"),
        (lambda _: [], "no samples yet"),
    ],
)  # fmt: skip
def test_chains_of_anything_but_finite_numbers_are_refused_by_row(chain, edit, message):
    root, change = chain
    change(edit)
    with pytest.raises(ValueError, match=rf"tng300_sample1\.1\.txt.*{message}"):
        load_chains(root)


def test_chains_of_another_run_than_their_names_are_refused(chain):
    """Columns are taken by their names, which must be those of the file's head."""
    root, change = chain
    change(lambda x: [x[0].replace(" ".join(MU), " ".join(MU[::-1])), *x[1:]])
    with pytest.raises(
        ValueError, match=r"1\.txt is of another run than what names its parameters"
    ):
        load_chains(root)


@pytest.mark.parametrize(
    ("ending", "content"),
    [("paramnames", b"\xff"), ("ranges", b"mu_cen_sample1 a b"), ("properties.ini", b"a=1\na=2")],
)
def test_chains_whose_names_cannot_be_read_name_the_file(folder, ending, content):
    (folder / f"nuts_sample1.{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"GetDist fails at .*nuts_sample1\.{ending}"):
        load_nuts(folder / "nuts_sample1")


def test_data_never_becomes_code_where_getdist_reads_yaml(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, _ = chain
    with root.with_name(f"{root.name}.updated.yaml").open("a") as file:
        file.write("\nx: !!python/object/apply:os.mkdir ['pwned']\n")
    for read in (load_chains, prediction_figure):
        with pytest.raises(ValueError, match=r"updated\.yaml, line \d+: the tag !!python/object"):
            read(root)
    assert not (tmp_path / "pwned").exists()


def test_a_prefix_without_chains_names_those_that_there_are(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for wrong in ("chains/tng300_sampel1", "chains", "chains/", "chains/tng300_sample1.1.txt"):
        with pytest.raises(FileNotFoundError, match=r"There are chains/tng300_sample1\."):
            load_chains(wrong)
    with pytest.raises(FileNotFoundError, match=r"There are chains/nuts_sample1\."):
        load_nuts("chains/nuts_sample")
    with pytest.raises(FileNotFoundError, match="There are none beside it"):
        load_chains("nowhere/chain")
    with pytest.raises(FileNotFoundError, match=r"nuts_sample1_1\.txt is a chain of NUTS"):
        load_chains("chains/nuts_sample1")
    with pytest.raises(FileNotFoundError, match=r"tng300_sample1\.1\.txt is a chain of Cobaya"):
        load_nuts("chains/tng300_sample1")


def test_a_prefix_of_two_runs_is_refused_with_both(folder):
    for ending in ("_1.txt", ".paramnames", ".ranges"):
        shutil.copy(folder / f"nuts_sample1{ending}", folder / f"tng300_sample1{ending}")
    assert load_nuts(folder / "tng300_sample1").numrows == 300
    with pytest.raises(ValueError, match=r"two runs, tng300_sample1\.1\.txt and tng300_sample1_1"):
        load_chains(folder / "tng300_sample1")


def test_plot_draws_what_can_be_drawn(chain, iaemu):
    root, change = chain
    done = iaemu("plot", root, "--suffix", "svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"{root}_corner.svg", f"{root}_prediction.svg"]
    change(lambda lines: lines[:2])
    half = iaemu("plot", root)
    assert half.returncode == 1
    assert half.stdout.splitlines()[-1:] == [f"{root}_prediction.png"]
    assert half.stderr.startswith("Error: No corner plot: nothing varies")
    nothing = iaemu("plot", root.with_name("nothing"))
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.count("Error: No chains") == 1


def test_a_prefix_that_is_a_folder(folder):
    """As of `output: chains/`."""
    for name in ("1.txt", "updated.yaml"):
        (folder / f"tng300_sample1.{name}").rename(folder / name)
    assert plot_chains(f"{folder}/") == [folder / "corner.png", folder / "prediction.png"]
    with pytest.raises(FileNotFoundError, match=f"There are {folder}/"):
        load_chains(folder)


def test_a_format_is_known_before_anything_is_read(folder):
    with pytest.raises(ValueError, match="No format 'xyz' for figures; there are"):
        plot_chains(folder / "nothing", suffix="xyz")


def test_chains_without_names_of_their_parameters(chain):
    root, _ = chain
    root.with_name(f"{root.name}.updated.yaml").unlink()
    with pytest.raises(ValueError, match=r"neither \.updated\.yaml nor \.paramnames"):
        load_chains(root)
