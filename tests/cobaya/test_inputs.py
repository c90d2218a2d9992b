"""What a Cobaya input may hold, and what is refused while it is read."""

from importlib.resources import files

import numpy as np
import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.yaml import yaml_load_file
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.cobaya.check import check_run
from iaemu_likelihood.cobaya.inputs import latex_text, model_of, read_input, updated_file
from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.posterior import posterior

EXAMPLE = (files("iaemu_likelihood.yaml_examples") / "tng300_sample1.yaml").read_text()
CALL = "python/object/apply:os.mkdir ['pwned']"


def written(folder, text, name="run.yaml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"{EXAMPLE}\nx: !!{CALL}\n",
        f"{EXAMPLE}\n? !!{CALL}\n: 1\n",
        f"{EXAMPLE}\nx: [1, {{a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> ['pwned']}}]\n",
        f"%TAG ! tag:yaml.org,2002:\n---\n{EXAMPLE}\nx: !{CALL}\n",
        f"{EXAMPLE}\nx: !!%70ython/object/apply:os.mkdir ['pwned']\n",
    ],
    ids=["value", "key", "verbatim", "declared", "encoded"],
)
def test_data_never_becomes_code_python_tags_are_refused_by_name_and_line(
    tmp_path, monkeypatch, text
):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "pwned" in row)
    with pytest.raises(ValueError, match=rf"run\.yaml, line {line}: the tag !!python/object/apply"):
        read_input(path)
    assert not (tmp_path / "pwned").exists()
    yaml_load_file(str(path))  # which is what happened without the look before
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize("named", ["part", "part.yaml", "[part]", "[whole, part]"])
def test_data_never_becomes_code_included_files_are_looked_into(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "a: 1", "whole.yml")
    written(tmp_path, f"a: !defaults deeper\nb: !!{CALL}", "part.yaml")
    path = written(tmp_path, f"{EXAMPLE}\nx: !defaults {named}\n")
    with pytest.raises(ValueError, match=r"part\.yaml, line 2: the tag"):
        read_input(path)
    assert not (tmp_path / "pwned").exists()


def test_cobayas_own_tags_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_CHAINS", "somewhere")
    written(tmp_path, "sampler: {mcmc: {max_samples: 3}}", "part.yaml")
    text = EXAMPLE.replace("output: chains", "x-mine: !defaults part\noutput: ${MY_CHAINS}")
    info = read_input(written(tmp_path, text))
    assert info["output"] == "somewhere/tng300_sample1"
    assert info["x-mine"] == {"sampler": {"mcmc": {"max_samples": 3}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it lacks theory, likelihood"),
        ("theory: {}\nlikelihood: {}\nparams: {}", "'params' must name parameters; got {}, .* Leave the block out"),
        ("theory: {}\nlikelihood: {}\nparams:", "'params' must name parameters; got None"),
        ("[1, 2]", "it lacks theory, likelihood"),
        ("[" * 5000, "nested too deeply"),
        ("\x00", "is not readable YAML"),
        (f"{EXAMPLE}\nx: !path no_variable\n", "is not readable YAML"),
        (f"{EXAMPLE}\nx: 2020-13-45\n", "is not readable YAML. month must be"),
        (f"{EXAMPLE}\nparamss: {{}}\n", "no block 'paramss'. Did you mean params"),
        (EXAMPLE.replace("IAEmu", "IAEmuu"), "no 'iaemu_likelihood.IAEmuu' for the block 'theory'. Did you mean iaemu_likelihood.IAEmu"),
        (EXAMPLE.replace("iaemu_l", "iaemul"), "for the block 'theory'"),
        (EXAMPLE.replace("Sample1", "Sampel1"), "for the block 'likelihood'. Did you mean iaemu_likelihood.tng300.Sample1"),
        (EXAMPLE.replace("iaemu_likelihood.tng300.Sample1", "iaemu_likelihood.IAEmu"), "not a standard class of type likelihood"),
        (EXAMPLE.replace("iaemu_likelihood.tng300.Sample1", "1"), "a name is text"),
    ],
)  # fmt: skip
def test_no_raw_traceback_what_is_no_input_is_said_in_a_sentence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_input(written(tmp_path, text))


def test_no_raw_traceback_a_folder_is_no_input(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_input(tmp_path)


def test_no_raw_traceback_what_cobaya_fails_at_is_refused_in_a_sentence():
    info = {**yaml.safe_load(EXAMPLE), "params": {}}
    with pytest.raises(ValueError, match=r"Cobaya cannot read the input: TypeError: "):
        model_of(info)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"params": {3: 1}}, r"'params\[3\] \(key\)' must be of type str, got int"),
        ({"params": {"a": [1, {}]}}, r"'params\['a'\]\[1\]' must be a float, got dict"),
        ({"params": {"a": 1j}}, "must be a float, got complex"),
        ({"params": {"a": {"latex": 3, "value": 1}}}, r"params\['a'\]\.latex' must be of type str, got int"),
        ({"params": {"a": {"proposal": "x", "prior": [0, 1]}}}, "must be a float, got str"),
        ({"params": {"a": float("nan")}}, "a is fixed at nan; it must be a finite number"),
        ({"params": {"a": {"value": float("-inf")}}}, "a is fixed at -inf"),
        ({"prior": 3}, "'prior' must be dict, got int"),
        ({"force": "x"}, "'force' must be boolean, got str"),
        ({"packages_path": 3}, "must be of type str, got int"),
        ({"output": 5}, "'output' must be of type .*, got int"),
    ],
)  # fmt: skip
def test_no_raw_traceback_odd_types_are_refused_by_name(changed, message):
    with pytest.raises(ValueError, match=rf"The input: .*{message}"):
        read_input({**yaml.safe_load(EXAMPLE), **changed})


@pytest.mark.parametrize(
    "given",
    [
        {"prior": {"dist": "beta", "a": 2, "b": 3}, "ref": {"dist": "norm", "loc": 0.1, "scale": 1}},
        {"prior": [0, 1], "periodic": True, "drop": True, "renames": ["b"]},
        {"value": "lambda: 1", "derived": False},
        {"derived": True, "min": 0, "max": 1, "latex": None},
        [0, 1, 0.5, 0.1], (0, 1), np.float32(1), np.array([0.0, 1.0]), None, "lambda x: x",
    ],
)  # fmt: skip
def test_parameters_that_cobaya_takes_are_taken(given):
    info = yaml.safe_load(EXAMPLE)
    assert read_input({**info, "params": {**info["params"], "a": given}})["params"]["a"] is given


@pytest.mark.parametrize(
    ("option", "value"),
    [("samples", 0.5), ("samples", True), ("weights", ["a"]), ("weights", None)],
)
def test_no_raw_traceback_odd_options_are_refused_by_name(option, value):
    info = yaml.safe_load(EXAMPLE)
    info["theory"]["iaemu_likelihood.IAEmu"] = {option: value}
    with pytest.raises((ValueError, LoggedError), match=rf"{option}.* must be"):
        model_of(read_input(info))


def test_no_raw_traceback_a_misspelled_parameter_is_told_what_is_near():
    info = yaml.safe_load(EXAMPLE)
    info["params"]["logMnim_sample1"] = info["params"].pop("logMmin_sample1")
    with pytest.raises(ValueError, match=r"'logMnim_sample1'.*Did you mean logMmin_sample1"):
        model_of(info)
    info["params"]["nothing_like_it"] = info["params"].pop("logMnim_sample1")
    with pytest.raises(LoggedError, match="'nothing_like_it'"):
        model_of(info)


def without_parameters(**options):
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": ["sample1"], **options}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"emulator_error": "none"}},
        "sampler": {"evaluate": None},
    }


def test_without_params_all_have_the_priors_of_the_theory(tmp_path):
    """As in cobaya-run: in `iaemu check`, in a posterior and in NUTS."""
    info = without_parameters()
    path = written(tmp_path, yaml.safe_dump(info))
    names = [f"{name}_sample1" for name in DEFAULT_SPACE.names]
    assert list(get_model(info).parameterization.sampled_params()) == names
    numbers = check_run(path).numbers
    assert [row["name"] for row in numbers["parameters"]] == names
    assert posterior(path).names == names
    result = run_nuts(path, tmp_path / "nuts", warm_up=4, samples=4, progress=False)
    assert result.names == names


def test_labels_change_without_a_prior():
    labels = {"mu_cen": "A", "alpha_sample1": r"\alpha_1"}
    made = posterior(without_parameters(latex=labels))
    found = dict(zip(made.names, made.labels, strict=True))
    assert found["mu_cen_sample1"] == r"A^{\mathrm{sample1}}"
    assert found["alpha_sample1"] == r"\alpha_1"
    plain = posterior(without_parameters())
    assert found["mu_sat_sample1"] == plain.labels[1]
    assert made.identity["theory"] == plain.identity["theory"]
    with pytest.raises(LoggedError, match=r"latex has labels of \['mu_cn'\], which are no param"):
        model_of(without_parameters(latex={"mu_cn": "A"}))


def test_a_label_where_cobaya_takes_none_is_told_where_it_belongs():
    info = without_parameters() | {"params": {"mu_cen_sample1": {"latex": "A"}}}
    with pytest.raises(ValueError, match=r"\['mu_cen_sample1'\].* set the theory's option latex"):
        model_of(info)


def test_the_input_of_a_run_is_where_cobaya_writes_it():
    assert str(updated_file("chains/a")) == "chains/a.updated.yaml"
    assert str(updated_file("chains/")) == "chains/updated.yaml"


def test_labels_mean_themselves_in_latex():
    assert latex_text("LRG_0_8") == r"LRG\_0\_8"
