"""Text from files is shown as it is, and results are written where they can be."""

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import typer
import yaml
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.tables import Table, printable

from iaemu_likelihood import cli
from iaemu_likelihood.cli.tables import draw, say, show
from iaemu_likelihood.data_vectors.measurement import Measurement

HOSTILE = [
    "[/b]",
    "[link=file:///etc/passwd]x[/link]",
    ":warning: [bold]",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "abc\u202ecba",
    "a\rb",
    "a | b",
    "<img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_files_is_shown_as_it_is(text, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    show([Table(text, [text, "b"], [["1", text]])])
    say([text])
    say([text], error=True)
    shown = capsys.readouterr()
    for stream, times in ((shown.out, 4), (shown.err, 1)):
        assert stream.count(printable(text)) == times
        assert not any(c in stream for c in "\x1b\x07\x9b\u202e\r")


@pytest.mark.parametrize("text", [*HOSTILE, "two\nlines", "a\\|b"])
def test_text_of_files_is_one_cell_of_markdown(text):
    lines = Table("", ["a", "b"], [[text, "c"]]).markdown().split("\n")
    assert len(lines) == 3
    assert lines[2].replace(r"\|", "").count("|") == 3
    assert "<" not in lines[2]


def test_text_of_files_is_shown_as_it_is_by_check(tmp_path, iaemu):
    """The name of a measurement, which broke it."""
    name = "[/b] \\mu :warning:"
    measured = replace(Measurement.read("tng300.sample1"), name=name)
    measured.write(tmp_path / "own.ecsv")
    info = {
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {"iaemu_likelihood.IACorrelations": {"data_file": str(tmp_path / "own.ecsv")}},
        "params": dict(measured.metadata["hod"]),
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    result = iaemu("check", "run.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert name in result.stdout


def test_text_of_files_is_shown_as_it_is_in_errors(tmp_path, iaemu):
    (tmp_path / "\x1b[2J.yaml").write_text("[/b]")
    result = iaemu("check", "\x1b[2J.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert r"Error: \x1b[2J.yaml is no input of a Cobaya run" in result.stderr


def test_text_of_files_is_shown_as_it_is_in_logs(tmp_path, iaemu):
    """Of Cobaya, which shows errors of components itself."""
    info = {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": ["\x1b[2J"]}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": None},
        "params": {"alpha": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    make_record = logging.getLogRecordFactory()
    result = iaemu("check", "run.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert r"\x1b[2J" in result.stdout + result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    assert logging.getLogRecordFactory() is make_record


def test_messages_of_the_emulator_are_shown_once(tmp_path):
    """In a process of its own, where Cobaya's log has a handler of its own, too."""
    folder = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    card = yaml.safe_load((folder / "card.yaml").read_text())
    del card["content_sha256"]
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "schema": 2}))
    info = {
        "theory": {"iaemu_likelihood.IAEmu": {"weights": str(folder), "samples": ["sample1"]}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"emulator_error": "none"}},
        "params": {f"{k}_sample1": x for k, x in Measurement.read("tng300.sample1").hod.items()},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    code = "from iaemu_likelihood.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "nuts", "run.yaml", "--warm-up=2", "--samples=4", "--out=n"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (result.stdout + result.stderr).count("is of an older version") == 1


def commands(command):
    """All commands, those of groups included."""
    for name, each in getattr(command, "commands", {"": command}).items():
        if hasattr(each, "commands"):
            for more, leaf in commands(each):
                yield [name, *more], leaf
        else:
            yield [name], each


WITH_JSON = [
    name
    for name, command in commands(typer.main.get_command(cli.app))
    if any("--json" in parameter.opts for parameter in command.params)
]


def test_there_are_commands_that_write_numbers():
    assert len(WITH_JSON) >= 6


@pytest.mark.parametrize("name", WITH_JSON, ids=" ".join)
@pytest.mark.parametrize("where", ["missing/t.json", ".", "file/t.json", "pipe"])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, iaemu, name, where):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    arguments = {"validate NAME": ["validate", "templates"]}.get(" ".join(name), name)
    needed = {"check": ["run.yaml"], "nuts": ["--data", "tng300.sample1"]}.get(name[0], [])
    result = iaemu(*arguments, *needed, "--json", where, cwd=tmp_path)
    assert result.returncode == 1
    assert "Error: " in result.stderr
    assert str(tmp_path / where).rstrip("/.") in result.stderr or "pipe" in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["templates", "--report", "report.txt"], "must end in .html"),
        (["templates", "--report", "none/report.html"], "There is no folder"),
        (["calibration", "--figure", "figure.xyz"], "No format 'xyz' for figures; there are eps"),
        (["calibration", "--figure", "none/figure.png"], "There is no folder"),
        (["calibration", "--figure", "figure"], "No format '' for figures"),
        (["binning", "--write-expectation", "none/a.ecsv"], "There is no folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work_of_validation(
    tmp_path, iaemu, arguments, message
):
    result = iaemu("validate", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_numbers_follow_a_link(tmp_path, iaemu):
    (tmp_path / "run.yaml").write_text("theory: {")
    (tmp_path / "real.json").write_text("precious")
    (tmp_path / "link.json").symlink_to("real.json")
    iaemu("check", "run.yaml", "--json", "link.json", cwd=tmp_path)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "precious"


def test_a_figure_that_fails_is_one_line_and_costs_no_other(capsys, tmp_path):
    def fails():
        raise RuntimeError("no \x1b[2J font")

    def fails_silently():
        raise MemoryError

    assert not draw(fails, lambda: tmp_path / "a.png", fails, fails_silently)
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'a.png'}\n"
    assert err == "Error: no \\x1b[2J font\nError: MemoryError\n"
    assert draw(lambda: tmp_path)


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("~/a.yaml", "HOME/a.yaml"),
        ("~", "HOME"),
        ("--json=~/a.json", "--json=HOME/a.json"),
        ("--name=~ 3", "--name=~ 3"),
        ("a~/b", "a~/b"),
        ("~nobody_of_this_name/x", "~nobody_of_this_name/x"),
        ("~/chains/", "HOME/chains/"),
        ("--", "--"),
        ("", ""),
    ],
)
def test_paths_of_home(argument, expanded, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli._expanded(argument) == expanded.replace("HOME", str(tmp_path))


def test_paths_of_home_are_taken_by_commands(tmp_path, monkeypatch, iaemu):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("[1]")
    assert f"{tmp_path}/run.yaml is no input" in iaemu("check", "~/run.yaml").stderr
    assert f"No chains {tmp_path}/a.*.txt" in iaemu("plot", "~/a").stderr
