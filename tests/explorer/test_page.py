"""The page computes what Python computes; Chromium runs it."""

import html
import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator import Emulator
from typer.testing import CliRunner

from iaemu_likelihood.cli import app
from iaemu_likelihood.data_vectors import Measurement
from iaemu_likelihood.explorer import write_explorer
from iaemu_likelihood.explorer.page import ON_THE_SKY
from iaemu_likelihood.explorer.program import OPERATIONS, Constants, trace

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
N_POINTS = 60
# In standard deviations of one catalogue, or of TNG300's data; single precision allows less.
AGREEMENT = 1e-3


def shown(page, folder, script="", fragment=""):
    """The document as Chromium has it after running the page, and then a script."""
    file = folder / f"{page.stem}_{abs(hash((script, fragment)))}.html"
    file.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"{file.as_uri()}{fragment}",
    ]  # fmt: skip
    # Its own files of settings and caches are not the user's.
    env = {**os.environ, "HOME": str(folder)}
    found = subprocess.run(
        command, check=True, capture_output=True, text=True, env=env, timeout=120
    )
    return found.stdout


def printed(document):
    return json.loads(
        html.unescape(re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)[1])
    )


def prints(expression):
    return (
        "const found = document.createElement('pre'); found.id = 'found';"
        f"found.textContent = JSON.stringify({expression}); document.body.append(found);"
    )


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


# In snapshots, and between two of them.
REDSHIFTS = [0.0, 0.45, 1.0]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    return write_explorer(path, redshifts=REDSHIFTS)


@browser
@pytest.mark.parametrize("redshift", REDSHIFTS)
def test_page_and_python_agree_over_the_domain(page, emulator, redshift, tmp_path):
    agree_at(redshift, page, emulator.at_redshift(redshift), tmp_path)


def test_the_redshift_is_that_of_the_weights_unless_others_are_given(page, emulator, tmp_path):
    own = write_explorer(tmp_path / "own.html")
    for path, expected in ((page, REDSHIFTS), (own, [emulator.redshift])):
        assert json.loads(re.search(r'"redshifts": (\[.*?\])', path.read_text())[1]) == expected
    with pytest.raises(ValueError, match=r"The redshift is 1\.2; these weights know z = 0 to 1"):
        write_explorer(tmp_path / "other.html", redshifts=[0.0, 1.2])
    assert [x.name for x in tmp_path.iterdir()] == ["own.html"]


def agree_at(redshift, page, emulator, folder):
    theta = emulator.domain.sample(N_POINTS, seed=1)
    responses = np.random.default_rng(2).uniform(0.05, 0.6, N_POINTS)
    points = [
        dict(zip(emulator.space.names, map(float, x), strict=True))
        | {"a2": float(a), "z": redshift}
        for x, a in zip(theta, responses, strict=True)
    ]
    document = shown(page, folder, prints(f"{json.dumps(points)}.map(explorer.predict)"))
    outputs = printed(document)
    found = {name: np.array([each[name] for each in outputs]) for name in outputs[0]}
    here = emulator.predict(theta)
    for name in here:
        sigma = here.aleatoric[name]
        for what, values in (("mean", here[name]), ("epistemic", here.epistemic[name])):
            assert (np.abs(found[f"{name} {what}"] - values) < AGREEMENT * sigma).all()
        np.testing.assert_allclose(found[f"{name} aleatoric"], sigma, rtol=AGREEMENT)
    data = Measurement.read(ON_THE_SKY[0])
    on_the_sky = emulator.predict_projected(
        theta, data.r_edges, response=np.repeat(responses[:, None], 2, axis=1),
        conventions=data.conventions,
    )  # fmt: skip
    for name in data.values:
        difference = np.abs(found[f"{name} mean"] - on_the_sky[name])
        assert (difference < AGREEMENT * data.errors[name]).all()
        # The page computes in single precision.
        rounding = 1e-6 * np.abs(on_the_sky[name])
        assert (difference < np.maximum(1e-2 * on_the_sky.epistemic[name], rounding)).all()
        np.testing.assert_allclose(
            found[f"{name} epistemic"], on_the_sky.epistemic[name], rtol=1e-2
        )
    lower, upper = emulator.domain.limits(theta)
    np.testing.assert_allclose(found["lower"], lower, atol=1e-5)
    np.testing.assert_allclose(found["upper"], upper, atol=1e-5)


@browser
def test_a_link_carries_the_parameters_into_the_domain(page, emulator, tmp_path):
    link = "#mu_cen=-0.25&mu_sat=7&logMmin=13.2&alpha=1.1&a2=0.3&nothing=1&sigma_logM=<b>"
    document = shown(page, tmp_path, prints("[explorer.state, location.hash]"), link)
    state, fragment = printed(document)
    assert (state["mu_cen"], state["mu_sat"], state["logMmin"]) == (-0.25, 1, 13.2)
    assert emulator.domain.contains([round(state[name], 5) for name in emulator.space.names])
    # The others follow logMmin, and the address says where they are now.
    assert "mu_cen=-0.25" in fragment
    assert f"logM1={state['logM1']:.4f}".rstrip("0") in fragment
    again, _ = printed(shown(page, tmp_path, prints("[explorer.state, location.hash]"), fragment))
    assert again == pytest.approx(state, abs=1e-4)


@browser
def test_curves_bands_and_points_are_drawn_and_moves_are_timed(page, emulator, tmp_path):
    document = shown(page, tmp_path)
    figures = re.findall(r'<figure data-statistic="(\w+)">(.*?)</figure>', document, re.DOTALL)
    data = Measurement.read(ON_THE_SKY[0])
    assert [name for name, _ in figures] == [*(s.name for s in emulator.statistics), *data.values]
    for name, figure in figures:
        assert figure.count('class="mean"') == figure.count('class="epistemic"') == 1
        assert figure.count('class="aleatoric"') == (name not in data.values)
        assert figure.count('class="datum"') >= 10
    assert re.search(r'id="time"[^>]*>\d+ ms<', document)


FUNCTIONS = (
    lambda x: x.clamp(-0.5, 0.5).sum(dim=[1], keepdim=True) - 2 * x[:, 1:3].pow(2),
    lambda x: torch.cat([x.T.unsqueeze(0).expand(2, 4, 1), x.view(1, 4, 1).exp2()], 0)[-1],
    lambda x: x[:, [2, 0, 2]] @ torch.arange(6.0, dtype=x.dtype).reshape(3, 2) / x.unbind(1)[0],
    lambda x: torch.baddbmm(
        torch.ones(1, 1, 2, dtype=x.dtype),
        x[None, :, ::2].expand(3, 1, 2),
        torch.arange(12.0, dtype=x.dtype).reshape(3, 2, 2),
    ).permute(2, 0, 1),
    lambda x: torch.nn.functional.silu(x).expm1() + x.cos().acos(),
    lambda x: x.clamp(min=torch.tensor(0.5), max=torch.tensor(0.7)).sqrt(),
)


@browser
def test_operations_are_those_of_torch(tmp_path):
    point = [0.3, 0.9, 0.6, 0.1]
    constants = Constants()
    programs = [trace(lambda x, f=f: {"y": f(x)}, {"x": point}, constants) for f in FUNCTIONS]
    values = np.frombuffer(constants.to_bytes(), "<f4").tolist()
    source = files("iaemu_likelihood.explorer").joinpath("program.js").read_text()
    page = tmp_path / "page.html"
    page.write_text(f"<body><script>{source}</script></body>")
    script = (
        f"const known = Program.constants({constants.shapes}, Float32Array.from({values}).buffer);"
        f"const each = {json.dumps(programs)}.map((p) => Program.run(p, known, {{x: {point}}}).y);"
    )
    found, known = printed(shown(page, tmp_path, script + prints("[each, Program.OPERATIONS]")))
    assert set(known) == OPERATIONS | {"getitem"}
    for values, function in zip(found, FUNCTIONS, strict=True):
        expected = function(torch.tensor([point], dtype=torch.float64)).flatten()
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_an_operation_that_pages_do_not_know_is_refused():
    with pytest.raises(ValueError, match="operation erfinv, only acos"):
        trace(lambda x: {"y": x.erfinv()}, {"x": [0.1]}, Constants())


def test_the_same_constant_is_held_once():
    constants = Constants()
    first = constants.add(torch.ones(3))
    assert constants.add(torch.ones(3, dtype=torch.float64)) == first
    assert constants.add(torch.ones(3, 1)) != first
    assert constants.shapes == [[3], [3, 1]]


def test_it_is_one_file_that_asks_for_nothing_else(page):
    text = page.read_text()
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import|fetch\(|https?://(?!www\.w3\.org)""", text
    )
    assert "/* content */" not in text


def test_the_command_writes_it_or_opens_it(tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    found = CliRunner().invoke(app, ["explore", "--export", str(file)])
    assert found.exit_code == 0, found.output
    assert file.stat().st_size < 10e6
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert CliRunner().invoke(app, ["explore"]).exit_code == 0
    (address,) = opened
    assert Path(address.removeprefix("file://")).read_text() == file.read_text()


def test_weights_of_another_kind_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="of the kind paper; the page takes weights of the kind templates"
    ):
        write_explorer(tmp_path / "page.html", "paper")
