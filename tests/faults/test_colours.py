"""Images that could be read in several ways, through whole jobs: the model is given the pixels that it must be."""

from typing import Any

import numpy as np
import pytest

from pipeline.cli.command import main
from tests.conftest import write_parquet
from tests.faults.bad_records import SIDE
from tests.faults.colours import Coloured, colours
from tests.faults.mirror import mirror
from tests.faults.outputs import rows


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Latents by name under both policies on orientation, by the command line."""
    place = tmp_path_factory.mktemp("colours")
    bundle = mirror(place, (SIDE, SIDE, 3))
    write_parquet(place / "a.parquet", [one.data for one in colours()], range(len(colours())))
    found = {}
    for policy in ("apply", "ignore"):
        arguments = ["--input", f"{place}/a.parquet", "--model", bundle, "--output", f"{place}/{policy}"]
        assert main(["encode", *arguments, "--exif-orientation", policy]) == 0
        found[policy] = {colours()[row["label"]].name: row["latent"] for row in rows(place / policy)}
    return found


@pytest.mark.parametrize("policy", ["apply", "ignore"])
@pytest.mark.parametrize("one", colours(), ids=lambda one: one.name)
def test_colours_depth_frames_and_orientation(one: Coloured, policy: str, galleries: dict[str, dict[str, Any]]) -> None:
    given = np.reshape(galleries[policy][one.name], (SIDE, SIDE, 3))
    wanted = one.upright if policy == "apply" else one.stored
    np.testing.assert_allclose(given, wanted, atol=one.within, rtol=0)
