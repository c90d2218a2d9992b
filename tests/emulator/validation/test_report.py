"""The page is data: what names of files, weights and statistics say in it is text."""

import copy
import dataclasses
import logging
import sys
import warnings
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from iaemu_likelihood.emulator.validation.report import render, write_report
from matplotlib import pyplot

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Names of all tags, and of all attributes that they have."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT,
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}",
        "{% include '/etc/passwd' %}",
        "</b>",
    ],
)
def test_data_never_becomes_code_names_are_text_in_the_page(validation, text):
    numbers = copy.deepcopy(validation.numbers)
    numbers["data"]["kind"] = text
    numbers["data"]["halos"] = {"name": text, "sha256": text}
    numbers["data"]["version"] = text
    numbers["left_out"] = [text]
    numbers["targets"][0]["name"] = numbers["targets"][0]["paper"] = text
    plain = Page(render(validation, "mine", {}))
    hostile = Page(render(dataclasses.replace(validation, numbers=numbers), text, {}))
    assert hostile.tags | {"b", "p"} == plain.tags | {"b", "p"}
    assert hostile.attributes == plain.attributes
    assert hostile.text.count(text) >= 7


def test_pages_run_no_script(validation):
    """Even if a name were not escaped: the page forbids scripts and all that is not in it."""
    page = render(validation, "", {})
    policy = page.index("Content-Security-Policy\" content=\"default-src 'none'")
    assert policy < page.index("<title>")
    assert "<script" not in page
    assert 'src="http' not in page


@pytest.mark.slow
def test_global_state_is_left_as_it_was(validation, tmp_path):
    def settings():
        return (
            dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums(),
            logging.root.level, list(logging.root.handlers), sys.excepthook,
            list(warnings.filters), np.geterr(),
        )  # fmt: skip

    pyplot.switch_backend("svg")
    try:
        before = settings()
        write_report(validation, tmp_path / "report.html")
        assert settings() == before
    finally:
        pyplot.switch_backend("agg")
