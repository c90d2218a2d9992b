from pathlib import Path

import yaml
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
from iaemu_likelihood.emulator.validation import targets


def test_every_target_of_the_file_is_a_number_of_a_validation(validation):
    content = yaml.safe_load(Path(targets.__file__).with_name("targets.yaml").read_text())
    expected = [
        f"{name}: {target['measure']}"
        for target in content["targets"]
        for name in target.get("statistics", DEFAULT_STATISTICS)
    ]
    assert [target["name"] for target in validation.numbers["targets"]] == expected


def test_bars_are_those_of_the_kind():
    names = list(DEFAULT_STATISTICS)
    numbers = {"data": {"kind": "templates"}, "aleatoric": {s: {"bias_dex": 0.05} for s in names}}
    rows = targets.targets(numbers, names)
    assert [(row["bar"], row["met"]) for row in rows] == [([-0.02, 0.02], False)] * 3
    assert [row["paper"] for row in rows] == ["", "+0.34", "+0.18"]
    numbers["data"]["kind"] = "paper"
    rows = targets.targets(numbers, ["omega"])
    assert [(row["name"], row["bar"], row["met"]) for row in rows] == [
        ("omega: median bias of the aleatoric sigma, dex", [-0.10, 0.10], True)
    ]
    numbers["data"]["kind"] = "another"
    assert [(row["bar"], row["met"]) for row in targets.targets(numbers, ["omega"])] == [
        (None, None)
    ]
