"""On servers: requests of a run that arrive when another one has the output change nothing that this one committed."""

import random
from pathlib import Path

import pytest

from harness.servers.s3_server import S3Server
from tests.conftest import Model, make_model
from tests.faults.forkserver import Nursery
from tests.faults.overtaken import tell
from tests.faults.overtaken_stories import STORIES, Moment, Story
from tests.stores.overtaken_on_servers import S3, Gcs, Server

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=["s3", "gs"])
def server(
    request: pytest.FixtureRequest,
    nursery: Nursery,
    tmp_path_factory: pytest.TempPathFactory,
    model: Model,
    s3: S3Server,
) -> Server:
    folder = tmp_path_factory.mktemp("server")
    models = (model.bundle, make_model(folder / "model", 8).bundle)
    if request.param == "s3":
        return S3(nursery, folder, models, s3)
    return Gcs(nursery, folder, models, request.getfixturevalue("gcs"))


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_requests_on_their_way(server: Server, tmp_path: Path, story: Story) -> None:
    moment = Moment(number=0 if story.committed else server.requests(story) // 2)
    assert tell(server, story, moment, str(story), tmp_path).overtook


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_at_any_request(server: Server, tmp_path: Path, story: Story) -> None:
    dice = random.Random(str(story))
    moments = (Moment.random(dice, server.requests(story)) for _ in range(5))
    ends = [tell(server, story, moment, f"{story}-{number}", tmp_path) for number, moment in enumerate(moments)]
    assert any(end.overtook for end in ends)
