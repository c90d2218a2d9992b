import numpy as np
import torch
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, named
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.physics.watson import p2

STATISTICS = named(DEFAULT_STATISTICS)


def test_statistics_are_the_sums_that_the_module_says():
    rng = np.random.default_rng(0)
    templates, mu = rng.normal(size=(5, 6, 3)), rng.uniform(-1, 1, (5, 2))
    xi, omega_c, omega_s, eta_cc, eta_cs, eta_ss = templates.swapaxes(0, 1)
    c, s = p2(mu).T[..., None]
    expected = np.stack(
        [xi, c * omega_c + s * omega_s, c**2 * eta_cc + c * s * eta_cs + s**2 * eta_ss], axis=1
    )
    np.testing.assert_allclose(combine_templates(templates, mu, STATISTICS), expected, atol=1e-11)
    reordered = combine_templates(templates[:, [3, 4, 5, 0]], mu, named(["eta", "xi"]))
    np.testing.assert_allclose(reordered, expected[:, [2, 0]], atol=1e-11)
    one = combine_templates(templates, mu[:1], STATISTICS)
    np.testing.assert_allclose(one[0], expected[0], atol=1e-11)

    def of_tensors(templates, mu):
        return combine_templates(templates, mu, STATISTICS)

    tensors = [torch.tensor(x, requires_grad=True) for x in (templates, 0.9 * mu)]
    assert torch.autograd.gradcheck(of_tensors, tensors)
    assert torch.autograd.gradgradcheck(of_tensors, tensors)


def test_bins_without_pairs_are_nan_in_ratios_only():
    templates = np.ones((1, 6, 2))
    templates[0, 1:, 0] = np.nan
    found = combine_templates(templates, np.array([[0.5, 0.3]]), STATISTICS)
    np.testing.assert_array_equal(
        np.isnan(found[0]), [[False, False], [True, False], [True, False]]
    )
