"""What the tests of the test support are made of: a server, pictures, and requests written by hand."""

import hashlib
from datetime import datetime

import pytest
import requests
from sticky_pi_uploader.demo.pictures import picture_bytes

DEVICE = "1b74105a"


class Visitor:
    """Sends requests as they are told, over one session that knows nothing of proxies."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.auth = None

    def post(self, path, **more):
        return self.session.post(self.url + path, **{"auth": self.auth, "timeout": 10, "allow_redirects": False} | more)

    def log_in(self, user="trap"):
        answer = self.post("/get_token", auth=(user, "pollen"))
        assert answer.status_code == 200
        self.auth = (answer.json()["token"], "")
        return answer.json()

    def ask(self, *entries, what="metadata"):
        """Ask for pictures, each as (device, datetime)."""
        entries = [{"device": device, "datetime": when} for device, when in entries]
        return self.post(f"/get_images/{what}", json=entries)

    def put(self, name, blob, md5=None, **more):
        """Upload a picture, with its md5 or another one; '' for none."""
        return self.post("/_put_new_images", files=form(name, blob, md5), **more)


def form(name, blob, md5=None):
    """Return the parts of an upload as requests takes them."""
    file = {name: (name, blob, "application/octet-stream")}
    if md5 is None:
        md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return file | ({f"{name}.md5": (None, md5)} if md5 else {})


@pytest.fixture
def visit():
    """Make visitors of addresses; each has its own session, closed at the end."""
    made = []

    def make(url):
        made.append(Visitor(url))
        return made[-1]

    yield make
    for visitor in made:
        visitor.session.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority of the tests' own."""
    from certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def standing_proxy(standing_servers):
    """A proxy before the standing server of 2023."""
    from fault_proxy import FaultProxy

    with FaultProxy(standing_servers[2023].port) as proxy:
        yield proxy


@pytest.fixture(params=[2021, 2023])
def generation(request):
    return request.param


@pytest.fixture
def serve(tmp_path):
    """Start servers, stopped at the end; each has a folder of its own."""
    from api_server import ApiServer

    started = []

    def start(**options):
        started.append(ApiServer(tmp_path / f"server{len(started)}", **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def standing_servers(tmp_path_factory):
    """One server of each generation, with the default options."""
    from api_server import ApiServer

    folder = tmp_path_factory.mktemp("servers")
    with ApiServer(folder / "2021", generation=2021) as old, ApiServer(folder / "2023", generation=2023) as new:
        yield {2021: old, 2023: new}


@pytest.fixture
def standing(standing_servers):
    """Reset a standing server and return it: starting one takes longer than most tests."""

    def reset(generation=2023):
        standing_servers[generation].reset()
        return standing_servers[generation]

    return reset


@pytest.fixture
def trap(serve, standing, visit):
    """Log in at a server, a standing one unless it takes special options: returns both."""

    def start(**options):
        server = standing(**options) if options.keys() <= {"generation"} else serve(**options)
        visitor = visit(server.url)
        visitor.log_in()
        return server, visitor

    return start


@pytest.fixture(scope="session")
def picture():
    """Make a picture's name and bytes: of one minute of one day."""

    def make(minute=0, *, device=DEVICE, seed=0, generation=2020, year=2020):
        taken = datetime(year, 7, 5, 10, minute)  # noqa: DTZ001  # UTC, as in the file names
        blob = picture_bytes(device, taken, size=(160, 120), seed=seed, generation=generation)
        return f"{device}.{taken:%Y-%m-%d_%H-%M-%S}.jpg", blob

    return make
