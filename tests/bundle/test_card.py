"""The licence on the model card, as Hugging Face reads it and in words."""

import pytest
import yaml

from splitmix.bundle.card import license_lines, license_text


@pytest.mark.parametrize(
    ("license", "header"),
    [
        (None, {"license": "unknown"}),
        ("MIT", {"license": "mit"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-or-later", {"license": "other", "license_name": "GPL-3.0-or-later"}),
        ("MIT OR Apache-2.0", {"license": "other", "license_name": "MIT OR Apache-2.0"}),
    ],
)
def test_licences_by_the_hubs_names(license, header):
    assert yaml.safe_load(license_lines(license)) == header
    assert (license or "Unknown") in license_text(license)
