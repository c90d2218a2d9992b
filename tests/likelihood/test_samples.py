"""Samples with weights and redshifts of their own: how they are given, bound to runs, and evaluated."""

import shutil

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import identity, read_card, weights_folder

from iaemu_likelihood.likelihood.model import Bins
from iaemu_likelihood.likelihood.samples import (
    JointModel,
    Source,
    load_emulators,
    sources_of,
    sources_sha256,
)

POINT = np.array([0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0])
OMEGA = Bins(("omega",), (0.3, 1.0, 3.0, 10.0))


def test_samples_take_from_all_what_they_do_not_say():
    common = Source("templates", 0.2)
    assert sources_of(None, common) == {None: common}
    assert sources_of([], common) == {None: common}
    assert sources_of(["a", "b"], common) == {"a": common, "b": common}
    given = {"a": None, "b": {"redshift": 1}, "c": {"weights": "paper", "redshift": None}}
    assert sources_of(given, common) == {
        "a": common, "b": Source("templates", 1), "c": Source("paper", None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ("sample1", "must be a list of distinct labels"),
        (["a", "a"], "must be a list of distinct labels"),
        (["a b"], "must be a list of distinct labels"),
        ({"a-b": None}, "must be a list of distinct labels"),
        ({1: None}, "must be a list of distinct labels"),
        ({"a": {"z": 0.6}}, "samples: a is {'z': 0.6}; it may say weights, redshift, occupation"),
        ({"a": 0.6}, "samples: a is 0.6"),
        ({"a": {"redshift": "0.6"}}, "samples: a: redshift must be a number; got '0.6'"),
        ({"a": {"redshift": float("nan")}}, "samples: a: redshift must be a number; got nan"),
        ({"a": {"weights": None}}, "samples: a: weights must be a name or a folder; got None"),
    ],
)
def test_what_samples_cannot_be(samples, message):
    with pytest.raises(ValueError, match=message):
        sources_of(samples, Source("templates"))


def sha(sources):
    return sources_sha256(sources, {label: source.card() for label, source in sources.items()})


def test_runs_of_one_set_of_weights_are_bound_as_before():
    own = identity(read_card(weights_folder("templates")))
    at_its_own = sources_of(["a", "b"], Source("templates", Emulator.load().redshift))
    for sources in (sources_of(None, Source("templates")), at_its_own):
        assert sha(sources) == own


def test_runs_are_bound_to_all_weights_and_redshifts(evolving_weights):
    name = str(evolving_weights)
    several = [
        {None: Source(name)},
        {None: Source(name, 0.5)},
        {"a": Source(name, 0.5), "b": Source(name)},
        {"a": Source(name), "b": Source(name, 0.5)},
        {"a": Source(name), "b": Source("paper")},
    ]
    assert len({sha(sources) for sources in several}) == len(several)
    other = dict(reversed(several[2].items()))
    assert sha(other) == sha(several[2])  # which comes first makes no difference


def test_samples_of_the_same_weights_and_redshift_share_an_emulator(evolving_weights, tmp_path):
    name = str(evolving_weights)
    shutil.copytree(evolving_weights, tmp_path / "copy")
    sources = {
        "a": Source(name), "b": Source(name, 0.5), "c": Source(str(tmp_path / "copy"), 0.5),
        "d": Source(name, 0.0),
    }  # fmt: skip
    found = load_emulators(sources)
    assert found["a"] is found["d"]
    assert found["b"] is found["c"] is not found["a"]
    assert [emulator.redshift for emulator in found.values()] == [0.0, 0.5, 0.5, 0.0]


def test_the_message_names_the_sample(evolving_weights):
    beyond = {"a": Source(str(evolving_weights)), "b": Source(str(evolving_weights), 1.5)}
    with pytest.raises(ValueError, match=r"Sample b: .*1.5; these weights know z = 0 to 1"):
        load_emulators(beyond)
    with pytest.raises(FileNotFoundError, match="Sample b: No weights 'none_such'"):
        load_emulators({"a": Source("templates"), "b": Source("none_such")})


def test_the_domain_is_that_of_the_redshift(evolving_weights):
    for redshift in (None, 0.0, 0.7):
        source = Source(str(evolving_weights), redshift)
        np.testing.assert_array_equal(
            source.domain(source.card()).outer_limits(), source.emulator().domain.outer_limits()
        )


def test_one_call_for_each_emulator_and_each_at_its_own(evolving_weights):
    emulators = load_emulators({
        "a": Source(str(evolving_weights)), "b": Source(str(evolving_weights), 0.5),
        "c": Source(str(evolving_weights)),
    })  # fmt: skip
    joint = JointModel(emulators, dict.fromkeys("abc", ("omega",)), {"b": ["epistemic"]})
    assert joint.models["a"] is joint.models["c"]
    values = {"a": POINT, "b": POINT, "c": POINT - 0.01}
    with torch.inference_mode():
        accepted, found = joint.evaluate(values, "reject")
        assert accepted
        assert found["a"].predicted is found["c"].predicted
        for label, emulator in emulators.items():
            alone = JointModel({None: emulator}, {None: ["omega"]}, {})
            _, expected = alone.evaluate({None: values[label]}, "reject")
            np.testing.assert_allclose(
                found[label].in_bins(OMEGA)[0], expected[None].in_bins(OMEGA)[0], rtol=1e-12
            )
            assert found[label].number_density == pytest.approx(expected[None].number_density)
    assert not np.allclose(found["a"].in_bins(OMEGA)[0], found["b"].in_bins(OMEGA)[0], rtol=1e-3)
    assert found["b"].in_bins(OMEGA, ["epistemic"])[1]["epistemic"].shape == (1, 3, 3)


def test_a_point_must_be_allowed_in_every_sample(evolving_weights):
    """The domain ends at lower masses where there are fewer galaxies."""
    emulators = load_emulators(
        {"a": Source(str(evolving_weights)), "b": Source(str(evolving_weights), 1.0)}
    )
    rare = Emulator.load(evolving_weights).domain.sample(2000, seed=1)
    rare = rare[rare[:, 2] > emulators["b"].domain.bands.first[1]][0]
    joint = JointModel(emulators, dict.fromkeys("ab", ("omega",)), {})
    assert joint.evaluate({"a": rare, "b": POINT}, "reject")[0]
    assert joint.evaluate({"a": POINT, "b": rare}, "reject") == (False, {})


def test_another_redshift_in_the_card_is_other_weights(tmp_path):
    folder = shutil.copytree(weights_folder("templates"), tmp_path / "other")
    write_card(folder, read_card(folder) | {"redshift": 0.6})
    sources = {"a": Source("templates"), "b": Source(str(folder))}
    assert sha(sources) not in (sha({None: x}) for x in sources.values())
