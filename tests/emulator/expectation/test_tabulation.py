"""The tabulation against a slow sum over all pairs, and against halotools-IA itself."""

from __future__ import annotations

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import HaloCatalogue
from iaemu_likelihood.emulator.locking import exclusive
from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES, R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Bands, Occupation
from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.emulator.physics.statistics import STATISTICS, PairKernel, Statistic
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.validation.expectation import expectation_against_halotools
from scipy.special import erf, eval_legendre
from scipy.stats import poisson

from ..editing import edit

HOD = np.array([12.0, 0.3, 11.9, 13.1, 1.1])
EDGES = np.array([0.1, 0.4, 1.0, 3.0, 8.0])
BOX = 40.0


def _p4_term(dx, dy, dz, r2, a, b):
    along = a[0] * dx + a[1] * dy + a[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    x = along * along / r2
    return (35 * x * x - 30 * x * aa + 3 * aa * aa) / 8


def _both_term(dx, dy, dz, r2, a, b):
    along_a = a[0] * dx + a[1] * dy + a[2] * dz
    along_b = b[0] * dx + b[1] * dy + b[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    return (along_a * along_a / r2 - aa / 3) * (along_b * along_b / r2 - bb / 3)


def _mutual_term(dx, dy, dz, r2, a, b):
    along = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    x = along * along
    return (35 * x * x - 30 * x * aa * bb + 3 * aa * aa * bb * bb) / 8


P4 = PairKernel("p4", n_axes=1, degree=4, term=_p4_term)
BOTH = PairKernel("both", n_axes=2, degree=2, term=_both_term)
MUTUAL = PairKernel("mutual", n_axes=2, degree=4, term=_mutual_term)
TOYS = tuple(
    Statistic(name, name, "", "", kernel, is_ratio)
    for name, kernel, is_ratio in (
        ("mean_p4", P4, True),
        ("density_p4", P4, False),
        ("mean_both", BOTH, True),
        ("density_mutual", MUTUAL, False),
    )
)
# Neither in the order of the default nor all with kernels of their own.
NAMES = ("mean_p4", "eta", "density_mutual", "xi", "density_p4", "omega", "mean_both")
# The same again, written differently: of cosines of the first and the second axis with the
# separation, and with each other.
TERMS = {
    "xi": lambda first, second, mutual: np.ones_like(first),
    "omega": lambda first, second, mutual: first**2 - 1 / 3,
    "eta": lambda first, second, mutual: mutual**2 - 1 / 3,
    "mean_p4": lambda first, second, mutual: eval_legendre(4, first),
    "density_p4": lambda first, second, mutual: eval_legendre(4, first),
    "mean_both": lambda first, second, mutual: (first**2 - 1 / 3) * (second**2 - 1 / 3),
    "density_mutual": lambda first, second, mutual: eval_legendre(4, mutual),
}


class Step(Occupation):
    """Centrals above a mass, and satellites in proportion to the mass."""

    name = "step"
    parameters = (Parameter("logMmin", "", 0.1), Parameter("logM1", "", 0.1))

    def mean_centrals(self, logM, hod):
        return (logM >= hod[:, :1]).astype(float)

    def mean_satellites(self, logM, hod):
        return 10 ** (logM - hod[:, 1:])

    def bands(self):
        return Bands.box((11.5, 12.0), (13.0, 13.5))


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with pytest.MonkeyPatch.context() as patch:
        for toy in TOYS:
            patch.setitem(STATISTICS, toy.name, toy)
        yield


def tiny_catalogue(seed=0, n_hosts=16):
    """Hosts of well-separated masses with 0 to 3 subhalos, each the only one of its mass bin.

    Then nothing is averaged inside bins, and the tabulation must equal the direct sum.
    """
    rng = np.random.default_rng(seed)
    mass = 10 ** np.linspace(11.5, 14.0, n_hosts)
    centre = rng.uniform(0, BOX, (n_hosts, 3))
    centre[1::2] = centre[::2] + rng.normal(0, 1.5, (n_hosts // 2, 3))
    n_subs = rng.integers(1, 4, n_hosts)
    rows = {"halo_id": [], "halo_upid": [], "halo_hostid": [], "halo_mvir": [], "halo_mpeak": []}
    position, host_mass = [], []
    for h in range(n_hosts):
        rows["halo_id"].append(h)
        rows["halo_upid"].append(-1)
        rows["halo_hostid"].append(h)
        rows["halo_mvir"].append(mass[h])
        rows["halo_mpeak"].append(mass[h])
        position.append(centre[h])
        host_mass.append(mass[h])
    order = rng.permutation(np.repeat(np.arange(n_hosts), n_subs))  # rows in no order at all
    for i, h in enumerate(order):
        rows["halo_id"].append(1000 + i)
        rows["halo_upid"].append(h)
        rows["halo_hostid"].append(h)
        rows["halo_mvir"].append(1e10)
        rows["halo_mpeak"].append(rng.uniform(1e10, 1e11))
        position.append(centre[h] + rng.normal(0, 0.4, 3))
        host_mass.append(mass[h])
    columns = {name: np.array(values) for name, values in rows.items()}
    columns |= dict(zip(("halo_x", "halo_y", "halo_z"), (np.array(position) % BOX).T, strict=True))
    axes = rng.normal(size=(len(position), 3))
    columns |= dict(zip(("halo_axisA_x", "halo_axisA_y", "halo_axisA_z"), axes.T, strict=True))
    columns |= {f"halo_v{x}": np.zeros(len(position)) for x in "xyz"}
    columns |= {"halo_rvir": np.ones(len(position)), "halo_mvir_host_halo": np.array(host_mass)}
    middle = np.sqrt(mass[1:] * mass[:-1])
    bins = np.array([mass[0] / 1.05, *middle, mass[-1] * 1.05])
    return HaloCatalogue.from_columns("tiny", columns, BOX, 0.0, 1e8, bins)


def zheng07(logM, hod):
    p = 0.5 * (1 + erf((logM - hod[0]) / hod[1]))
    return p, max(0.0, (10**logM - 10 ** hod[2]) / 10 ** hod[3]) ** hod[4]


def step(logM, hod):
    return float(logM >= hod[0]), 10 ** (logM - hod[1])


def direct_sum(halos, occupation, hod, edges, n_max=40):
    """Expected templates by adding up every pair of places where galaxies may be.

    A host's place of rank k is its subhalo of rank k or, beyond the last one, anywhere in the pool
    of its mass bin with equal probability (here: its own subhalos, as it is alone in its bin).
    """
    table = halos.columns
    hosts = np.flatnonzero(table["halo_upid"] == -1)
    centrals, satellites = [], []  # (host, weight, points (m, 3), axes (m, 3))
    for h in hosts:
        row = {name: values[h] for name, values in table.items()}
        centre = np.array([row[f"halo_{x}"] for x in "xyz"])
        axis = np.array([row[f"halo_axisA_{x}"] for x in "xyz"])
        p, n = occupation(np.log10(row["halo_mvir"]), hod)
        centrals.append((row["halo_id"], p, centre[None], axis[None], 1))
        subs = np.flatnonzero(table["halo_upid"] == row["halo_id"])
        subs = subs[np.argsort(-table["halo_mpeak"][subs])]
        offset = np.stack([table[f"halo_{x}"][subs] for x in "xyz"], axis=1) - centre
        offset -= BOX * np.round(offset / BOX)
        radial = offset / np.linalg.norm(offset, axis=1, keepdims=True)
        for k in range(1, n_max):
            q = poisson.sf(k - 1, n)
            where = slice(k - 1, k) if k <= len(subs) else slice(None)
            if q > 1e-16:
                satellites.append((row["halo_id"], q, centre + offset[where], radial[where], k))
    sums = {name: np.zeros((STATISTICS[name].kernel.n_axes + 1, len(edges) - 1)) for name in NAMES}

    def add(one, two, weight, kinds):
        d = two[2][None] - one[2][:, None]
        d -= BOX * np.round(d / BOX)
        r = np.linalg.norm(d, axis=2)
        inside = (r > edges[0]) & (r <= edges[-1])
        if not inside.any():
            return
        bins = np.searchsorted(edges, r[inside]) - 1
        i, j = np.nonzero(inside)
        rhat = d[inside] / r[inside][:, None]
        first, second = np.sum(one[3][i] * rhat, axis=1), np.sum(two[3][j] * rhat, axis=1)
        mutual = np.sum(one[3][i] * two[3][j], axis=1)
        for name, term in TERMS.items():
            # Templates are those of centrals, then with one axis more by satellites.
            carriers = {0: [""], 1: list(kinds), 2: [kinds]}[STATISTICS[name].kernel.n_axes]
            for carrier, cosines in zip(carriers, [(first, second), (second, first)], strict=False):
                row = sums[name][carrier.count("s")]
                np.add.at(row, bins, weight / r.size * term(*cosines, mutual))

    for i, one in enumerate(centrals):
        for two in centrals[i + 1 :]:
            add(one, two, one[1] * two[1], "cc")
        for two in satellites:
            add(one, two, one[1] * two[1], "cs")
    for i, one in enumerate(satellites):
        for two in satellites[i + 1 :]:
            same = one[0] == two[0]
            add(one, two, min(one[1], two[1]) if same else one[1] * two[1], "ss")
    n_centrals, n_satellites = sum(c[1] for c in centrals), sum(s[1] for s in satellites)
    random = (n_centrals + n_satellites) ** 2 * shell_volumes(edges) / BOX**3
    expected = {}
    for name, total in sums.items():
        # With one axis either galaxy of a pair has been the one that carries it.
        ordered = total if STATISTICS[name].kernel.n_axes == 1 else 2 * total
        expected[name] = ordered / (2 * sums["xi"] if STATISTICS[name].is_ratio else random)
    expected["xi"] -= 1
    return expected, n_centrals, n_satellites


@pytest.fixture(scope="module")
def tiny():
    return tiny_catalogue()


@pytest.fixture(scope="module")
def tiny_tabulation(tiny):
    return Tabulation.build(tiny, EDGES, progress=False, tolerance=0, statistics=NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("occupation", "same", "hod"),
    [
        (ZHENG07, zheng07, HOD),
        (ZHENG07, zheng07, [11.6, 0.2, 11.5, 13.1, 1.2]),
        (ZHENG07, zheng07, [13.0, 0.6, 12.5, 13.5, 0.8]),
        (Step(), step, [12.0, 13.3]),
    ],
    ids=["usual", "overflow", "few", "other occupation"],
)
def test_equals_the_sum_over_all_pairs(tiny, tiny_tabulation, occupation, same, hod):
    expected, n_centrals, n_satellites = direct_sum(tiny, same, hod, EDGES)
    got = tiny_tabulation.templates(hod, occupation=occupation)
    assert got.n_centrals[0] == pytest.approx(n_centrals, rel=1e-12)
    assert got.n_satellites[0] == pytest.approx(n_satellites, rel=1e-9)
    names = iter(templates_of(tiny_tabulation.statistics))
    for statistic in NAMES:
        for values in expected[statistic]:
            template = next(names).name
            assert np.abs(values).max() > 1e-3, template
            # Single precision of the stored sums is all that may differ.
            unit = 1 + np.abs(values) if statistic == "xi" else max(1, np.abs(values).max())
            np.testing.assert_allclose(
                getattr(got, template)[0] / unit, values / unit, atol=1e-6, err_msg=template
            )


@pytest.mark.slow
def test_agrees_with_halotools_on_a_real_catalogue(small_halos, small_tabulation):
    points = np.array(
        [[0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0], [-0.6, 0.95, 11.7, 0.3, 11.8, 12.3, 1.2]]
    )
    summary = expectation_against_halotools(
        small_halos, small_tabulation, n=24, seed=0, points=points, progress=False
    ).numbers["summary"]
    for name, values in summary.items():
        # Bins move together, more so at the second point: their correlations are accounted for.
        assert values["smallest_probability"] > 1e-3, (name, summary)
        assert values["max_abs_z"] < 4.5, (name, summary)


@pytest.mark.slow
def test_expectation_check_notices_a_wrong_template(small_halos, small_tabulation, monkeypatch):
    """The comparison above must fail for a model without the satellites' rank order."""
    points = np.array([[0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0]])
    true = small_tabulation.templates(points[:, 2:])
    factors = {"omega_c": 1.3, "eta_cc": 1.3, "eta_cs": 1.3}
    factor = [factors.get(t.name, 1) for t in templates_of(true.statistics)]
    wrong = replace(true, values=true.values * np.array(factor)[:, None])
    monkeypatch.setattr(Tabulation, "templates", lambda self, hod, occupation: wrong)
    report = expectation_against_halotools(
        small_halos, small_tabulation, n=24, seed=0, points=points, progress=False
    )
    assert report.numbers["summary"]["omega"]["smallest_probability"] < 1e-3


@pytest.mark.slow
def test_checkpoints_continue_a_stopped_comparison(small_halos, small_tabulation, tmp_path):
    points = np.array([[0.8, 0.3, 12.5, 0.26, 12.6, 13.4, 1.0]])
    arguments = {"points": points, "progress": False, "seed": 3}
    whole = expectation_against_halotools(small_halos, small_tabulation, 6, **arguments)
    expectation_against_halotools(small_halos, small_tabulation, 4, folder=tmp_path, **arguments)
    rest = expectation_against_halotools(
        small_halos, small_tabulation, 6, folder=tmp_path, **arguments
    )
    assert rest == whole


def test_batch_equals_single_points(small_tabulation):
    rng = np.random.default_rng(0)
    hod = HOD + rng.uniform(-0.1, 0.1, (300, 5))  # more than one chunk
    together = small_tabulation.templates(hod).values
    for i in (0, 127, 128, 299):
        np.testing.assert_allclose(
            together[i], small_tabulation.templates(hod[i]).values[0], rtol=1e-6, atol=1e-7
        )  # products in single precision


@pytest.mark.slow
def test_same_seed_same_sums(small_halos, small_fine_tabulation):
    again = Tabulation.build(small_halos, NEAR_EDGES, progress=False)
    np.testing.assert_array_equal(again._two_halo, small_fine_tabulation._two_halo)
    for name, values in vars(again._one_halo).items():
        np.testing.assert_array_equal(values, getattr(small_fine_tabulation._one_halo, name))


def test_no_satellites_leaves_no_satellite_templates(small_tabulation):
    templates = small_tabulation.templates([12.0, 0.3, 15.9, 13.0, 1.0])
    assert templates.n_satellites[0] == 0
    populated = templates.xi[0] > -1
    for name in ("omega_s", "eta_cs", "eta_ss"):
        np.testing.assert_array_equal(getattr(templates, name)[0, populated], 0)


@pytest.mark.slow
def test_file_round_trip_and_refusals(small_tabulation, tmp_path):
    path = tmp_path / "tabulation.hdf5"
    small_tabulation.write(path)
    again = Tabulation.read(path, small_tabulation.halos_sha256)
    assert again.statistics == small_tabulation.statistics
    np.testing.assert_array_equal(
        again.templates(HOD).values, small_tabulation.templates(HOD).values
    )
    with pytest.raises(FileExistsError, match="overwrite=True"):
        small_tabulation.write(path)
    with pytest.raises(ValueError, match=r"tabulates the catalogue 'small.ecsv'"):
        Tabulation.read(path, "0" * 64)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="not a complete tabulation"):
        Tabulation.read(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("two_halo", lambda x: x * 1.001, "was changed since it was written"),
        ("layout/logM", lambda x: x + 0.1, "was changed since it was written"),
        ("box", lambda x: 2 * x, "was changed since it was written"),
        ("seed", lambda x: x + 1, "was changed since it was written"),
        ("sha256", lambda _: "", "was changed since it was written"),
        ("r_edges", lambda _: h5py.ExternalLink("other.hdf5", "x"), "not all in this file"),
        ("one_halo/satellites", lambda _: h5py.SoftLink("/r_edges"), "was changed since"),
        ("halos_name", lambda _: h5py.Empty("S1"), "not a complete tabulation"),
    ],
)
def test_a_file_that_was_edited_is_refused(name, change, message, tiny_tabulation, tmp_path):
    path = tmp_path / "tabulation.hdf5"
    tiny_tabulation.write(path)
    edit(path, name, change)
    with pytest.raises(ValueError, match=message):
        Tabulation.read(path)


@pytest.mark.slow
def test_sums_that_are_not_finite_are_no_tabulation(tiny, monkeypatch):
    axes = tiny.columns["halo_axisA_x"].copy()
    axes[3] = np.inf
    # As if it were let through.
    monkeypatch.setitem(tiny.columns, "halo_axisA_x", axes)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match=r"pair sums of the halo catalogue .* are not all finite"),
    ):
        Tabulation.build(tiny, EDGES, progress=False, statistics=NAMES)


@pytest.mark.slow
def test_a_tabulation_of_another_seed_is_not_taken_for_this_one(tiny, tiny_tabulation, tmp_path):
    path = tmp_path / "tabulation.hdf5"
    tiny_tabulation.write(path)
    with pytest.raises(ValueError, match="was tabulated with seed 0, not 3; tabulate again"):
        Tabulation.cached(path, tiny, EDGES, seed=3, statistics=NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_impossible_seed_is_refused(seed, tiny):
    with pytest.raises(ValueError, match=f"seed is {seed}; it must be from 0 to 4294967295"):
        Tabulation.build(tiny, EDGES, seed=seed, progress=False)


@pytest.mark.slow
def test_a_tabulation_is_made_by_one_process_at_a_time(tiny, tmp_path):
    path = tmp_path / "tabulation.hdf5"
    told = pytest.raises(BlockingIOError, match=f"Process {os.getpid()} on .* is at work on")
    with exclusive(path), told:
        Tabulation.cached(path, tiny, EDGES)
    with pytest.raises(OSError, match=r"no folder .*nowhere"):
        Tabulation.cached(tmp_path / "nowhere" / "tabulation.hdf5", tiny, EDGES)


@pytest.mark.slow
def test_files_say_what_they_sum(tiny, tiny_tabulation, tmp_path, monkeypatch):
    path = tmp_path / "tabulation.hdf5"
    tiny_tabulation.write(path)
    again = Tabulation.cached(path, tiny, EDGES, statistics=NAMES)
    np.testing.assert_array_equal(
        again.templates(HOD).values, tiny_tabulation.templates(HOD).values
    )
    with h5py.File(path) as file:
        assert list(file.attrs["statistics"]) == list(NAMES)
        kernels = ["pairs", "p4", "orientation_orientation", "mutual", "position_orientation"]
        assert list(file.attrs["kernels"]) == [*kernels, "both"]
    fewer = Tabulation.cached(path, tiny, EDGES)
    assert [s.name for s in fewer.statistics] == ["xi", "omega", "eta"]
    with pytest.raises(ValueError, match=r"of mean_p4, .* cannot give .*eta_1 .* Tabulate again"):
        Tabulation.cached(path, tiny, EDGES, statistics=["xi", "eta_1"])
    with pytest.raises(ValueError, match="cannot give"):
        Tabulation.cached(path, tiny, EDGES * 1.1, statistics=NAMES)

    with monkeypatch.context() as patch:
        patch.setitem(STATISTICS, "mean_p4", replace(TOYS[0], kernel=replace(P4, name="other")))
        with pytest.raises(ValueError, match=r"sums the kernels pairs, p4, .*tabulate again"):
            Tabulation.read(path)
        patch.delitem(STATISTICS, "mean_p4")
        with pytest.raises(ValueError, match=f"{path.name}: No statistic mean_p4"):
            Tabulation.read(path)
    for schema, said in ((1, "1"), ([], r"\[\]"), ([4, 4], r"\[4 4\]"), ("4", "4")):
        with h5py.File(path, "r+") as file:
            file.attrs["schema"] = schema
        with pytest.raises(ValueError, match=f"has schema {said}, this version reads 4; tabulate"):
            Tabulation.read(path)


def test_bad_requests_are_errors(small_halos, small_tabulation):
    with pytest.raises(ValueError, match="below a third of the box"):
        Tabulation.build(small_halos, np.logspace(-1, 1.7, 11), progress=False)
    with pytest.raises(ValueError, match=r"sigma_logM is -0.1 .* positive"):
        small_tabulation.templates([12.0, -0.1, 12.0, 13.0, 1.0])
    with pytest.raises(ValueError, match="sigma_logM is nan"):
        small_tabulation.templates([12.0, np.nan, 12.0, 13.0, 1.0])


HODS = np.array(
    [[12.0, 0.3, 12.1, 12.9, 1.0], [12.8, 0.25, 13.3, 13.2, 1.35], [11.6, 0.2, 11.5, 12.3, 1.2]]
)


@pytest.mark.slow
def test_what_functions_and_intervals_leave_out(small_halos):
    """Against a tabulation for these occupations alone, on far narrower intervals of mass.

    The second has its satellites in few massive hosts, whose numbers of satellites decide how much
    catalogues differ; those of the third fill all subhalos.
    """
    edges = R_EDGES[::4]
    usual = Tabulation.build(small_halos, edges, progress=False).templates(HODS)
    exact = Tabulation.build(
        small_halos, edges, progress=False, interval_dex=0.001, only=HODS
    ).templates(HODS)
    for usual_xi, exact_xi, tolerance in zip(usual.xi, exact.xi, (1e-3, 3e-3, 1e-3), strict=True):
        np.testing.assert_allclose(1 + usual_xi, 1 + exact_xi, rtol=tolerance)
    np.testing.assert_allclose(usual.omega_c, exact.omega_c, atol=1e-4)
    np.testing.assert_allclose(usual.omega_s, exact.omega_s, atol=2e-4)


def test_coarser_bins_are_those_that_would_be_built(small_halos):
    edges = np.array([0.2, 0.5, 1.0, 2.5, 6.0])
    options = {"progress": False, "interval_dex": 0.2}
    fine = Tabulation.build(
        small_halos, edges, statistics=("xi", "omega", "omega_4", "eta"), **options
    )
    hod = [11.6, 0.26, 11.5, 12.8, 1.0]
    for wanted in (edges[[0, 2, 4]], edges[[1, 2, 3]]):
        built = Tabulation.build(small_halos, wanted, statistics=("xi", "eta"), **options)
        found = fine.coarser(wanted, ("xi", "eta"))
        np.testing.assert_allclose(
            found.templates(hod).values, built.templates(hod).values, rtol=2e-5
        )
    with pytest.raises(ValueError, match="cannot give xi, eta_0"):
        fine.coarser(edges, ("xi", "eta_0"))
    for impossible in ([0.2, 0.7], [0.2, 7.0], [0.2]):
        with pytest.raises(ValueError, match="with the edges"):
            fine.coarser(impossible, ("xi",))
