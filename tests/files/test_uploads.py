"""Files over HTTP: who may add and read a file, and what is stored."""

from __future__ import annotations

import hashlib

import httpx

from engine.files import file_rows
from engine.sql.file_tables import files
from tests.files import pictures
from tests.story.conftest import Person, Scenario
from tests.support.photos import tiny_png
from tests.support.wait import wait_until

PLACE = {"lat": 40.75, "lon": -73.99, "address": "1 Main St"}


async def upload(who: Person, target: str, data: bytes, *, kind: str = "", **headers: str) -> httpx.Response:
    """Upload bytes for a target."""
    query = f"?for={target}" + (f"&kind={kind}" if kind else "")
    auth = {"Authorization": f"Bearer {who.bearer}", **headers}
    return await who.http.post(f"/v1/files{query}", content=data, headers=auth)


async def download(who: Person, file: str, **headers: str) -> httpx.Response:
    """Read a file's bytes."""
    return await who.request("GET", f"/v1/files/{file}", **headers)


def code_of(reply: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return reply.status_code, reply.json().get("code", "")


class Work:
    """A job that Tom has accepted, with its room, and users who are not concerned."""

    scenario: Scenario
    carla: Person
    tom: Person
    others: list[Person]
    job: str
    room: str

    @classmethod
    async def begin(cls, scenario: Scenario) -> Work:
        """Book a job and let Tom accept it."""
        work = cls()
        work.scenario = scenario
        fixing = await scenario.create_service("Fixing")
        work.carla = await scenario.create_person("customer", "Carla")
        work.tom = await scenario.create_technician("Tom", fixing)
        work.job = (await work.carla.post("/v1/jobs", {**PLACE, "service": fixing})).json()["job"]["id"]
        await work.tom.socket.wait_for("new_job_broadcast", work.job)
        work.others = [
            await scenario.create_person("customer", "Other"),
            await scenario.create_technician("Una", fixing),
            await scenario.create_person("mediator", "Mia"),
            await scenario.create_person("onboarding_manager", "Rita"),
        ]
        return work

    async def accept(self) -> None:
        """Let Tom accept the job."""
        assert (await self.tom.post(f"/v1/jobs/{self.job}/claim")).status_code == 200
        self.room = (await self.carla.get(f"/v1/jobs/{self.job}"))["job"]["room"]


async def test_a_photo_of_a_job(scenario: Scenario) -> None:
    """The two sides add photos from acceptance until the end, and they and ops read them. All concerned users get an
    event, the job's version rises, and a repeated upload of the same bytes returns the same file.
    """
    work = await Work.begin(scenario)
    carla, tom, job = work.carla, work.tom, work.job
    await carla.socket.open()
    target, photo = f"job:{job}", pictures.jpeg()
    assert code_of(await upload(carla, target, photo)) == (409, "illegal_transition")
    assert code_of(await upload(tom, target, photo)) == (404, "not_found")
    await work.accept()
    for who in work.others:
        assert code_of(await upload(who, target, photo)) == (404, "not_found")
    assert code_of(await upload(scenario.admin, target, photo)) == (404, "not_found")
    assert code_of(await upload(carla, "job:job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", photo)) == (404, "not_found")
    assert code_of(await upload(carla, "job:nonsense", photo)) == (404, "not_found")
    for wrong in ("", "user:x", "job:", "job:a b", "job"):
        assert code_of(await upload(carla, wrong, photo)) == (422, "invalid")
    assert code_of(await upload(carla, target, photo, kind="No Kind")) == (422, "invalid")

    before = (await carla.get(f"/v1/jobs/{job}"))["job"]
    added = await upload(tom, target, photo, kind="before")
    assert added.status_code == 201, added.text
    file = added.json()["file"]
    assert (file["kind"], file["width"], file["height"]) == ("before", 96, 64)
    assert file["by"] == {"id": tom.id, "role": "technician"}
    after = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert after["photos"] == [file] and after["version"] == before["version"] + 1
    for who in (carla, tom):
        event = await who.socket.wait_for("file.added", job)
        assert event["data"]["file"] == file and event["data"]["job"]["photos"] == [file]

    other_kind = await upload(carla, target, photo, kind="after")
    assert code_of(other_kind) == (422, "invalid") and other_kind.json()["errors"][0]["pointer"] == "/kind"
    again = await upload(carla, target, photo)
    assert again.status_code == 200 and again.json()["file"] == file
    by_path = await carla.http.post(
        f"/v1/jobs/{job}/photos?kind=before", content=photo, headers={"Authorization": f"Bearer {carla.bearer}"}
    )
    assert by_path.status_code == 200 and by_path.json()["file"] == file
    assert (await carla.get(f"/v1/jobs/{job}/photos"))["items"] == [file]
    assert (await carla.get(f"/v1/jobs/{job}"))["job"]["version"] == after["version"], "a repeat changes nothing"

    stored = await download(carla, file["id"])
    assert stored.status_code == 200 and hashlib.sha256(stored.content).hexdigest() == file["sha256"]
    assert len(stored.content) == file["bytes"] and not [s for s in pictures.SECRETS if s in stored.content]
    assert stored.headers["content-type"] == "image/jpeg" and stored.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in stored.headers["content-security-policy"] and "private" in stored.headers["cache-control"]
    for tags in (stored.headers["etag"], "*", f'"other", W/{stored.headers["etag"]}'):
        known = await download(carla, file["id"], **{"If-None-Match": tags})
        assert (known.status_code, known.content) == (304, b"")
    assert (await download(carla, file["id"], **{"If-None-Match": '"other"'})).status_code == 200
    head = await carla.request("HEAD", f"/v1/files/{file['id']}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(file["bytes"]))
    for who in (tom, scenario.admin):
        assert (await download(who, file["id"])).status_code == 200
    for who in work.others:
        assert code_of(await download(who, file["id"])) == (404, "not_found")
        assert (await who.request("GET", f"/v1/jobs/{job}/photos")).status_code in (403, 404)

    for number in range(20):
        assert (await upload(carla, target, tiny_png(number))).status_code == 201
    assert code_of(await upload(carla, target, tiny_png(20))) == (422, "invalid")
    assert (await upload(tom, target, tiny_png(20))).status_code == 201, "nobody takes the places of others"
    for step in ("depart", "arrive", "start", "complete"):
        assert (await tom.post(f"/v1/jobs/{job}/{step}")).status_code == 200
    assert code_of(await upload(tom, target, tiny_png(21))) == (409, "illegal_transition")
    late = await upload(tom, target, photo)
    assert (late.status_code, late.json()["file"]) == (200, file), "a repeat is answered as before"
    assert (await download(carla, file["id"])).status_code == 200, "what is over is still read"


async def test_a_technician_who_left_reads_no_photo(scenario: Scenario) -> None:
    """A technician who loses the job can no longer read its photos, not even their own; the next holder can."""
    work = await Work.begin(scenario)
    await work.accept()
    file = (await upload(work.tom, f"job:{work.job}", tiny_png())).json()["file"]["id"]
    una = work.others[1]
    moved = await scenario.admin.post(f"/v1/jobs/{work.job}/reassign", {"technician": una.id, "reason": "ill"})
    assert moved.status_code == 200, moved.text
    assert code_of(await download(work.tom, file)) == (404, "not_found")
    assert (await download(una, file)).status_code == 200


async def test_files_of_messages(scenario: Scenario) -> None:
    """A message names files that its sender uploaded for its room, and another message may name them too. Users who may
    read the message may read the file, before and after the message is in SQL.
    """
    work = await Work.begin(scenario)
    await work.accept()
    carla, tom, target = work.carla, work.tom, f"room:{work.room}"
    for who in work.others:
        assert (await upload(who, target, tiny_png())).status_code in (403, 404)
    first = (await upload(carla, target, pictures.png())).json()["file"]
    assert (await upload(carla, target, pictures.png())).json()["file"]["id"] == first["id"]
    of_tom = (await upload(tom, target, tiny_png(1))).json()["file"]
    of_job = (await upload(carla, f"job:{work.job}", tiny_png(2))).json()["file"]
    assert (await download(carla, first["id"])).status_code == 200, "who uploaded a file reads it"
    assert code_of(await download(tom, first["id"])) == (404, "not_found")
    path = f"/v1/rooms/{work.room}/messages"
    for wrong in (of_tom["id"], of_job["id"], "file_none"):
        said = await carla.post(path, {"text": "Look", "client_id": "a", "files": [first["id"], wrong]})
        assert code_of(said) == (422, "invalid") and said.json()["errors"][0]["pointer"] == "/files/1"
    twice = await carla.post(path, {"text": "Look", "client_id": "a", "files": [first["id"], first["id"]]})
    assert code_of(twice) == (422, "invalid")

    message = {"text": "Look", "client_id": "a", "files": [first["id"]]}
    for _ in range(2):
        said = await carla.post(path, message)
        assert said.status_code in (200, 201) and said.json()["message"]["files"] == [first], said.text
    assert (await carla.post(path, {**message, "client_id": "b"})).status_code == 201, "the same picture again"
    assert code_of(await carla.post(path, {**message, "files": []})) == (422, "reused_key")
    assert (await tom.get(path))["items"][0]["files"] == [first]
    assert (await download(tom, first["id"])).status_code == 200

    async def is_known_to_sql() -> bool:
        rows = await file_rows.find_rows(scenario.server.engine.archive, files.c.id == first["id"])
        return rows[0].n == 2

    await wait_until(is_known_to_sql)
    assert (await download(tom, first["id"])).status_code == 200
    assert (await download(scenario.admin, first["id"])).status_code == 200, "ops read every room"
    una = work.others[1]
    moved = await scenario.admin.post(f"/v1/jobs/{work.job}/reassign", {"technician": una.id, "reason": "ill"})
    assert moved.status_code == 200, moved.text
    for who in (tom, una, *work.others):
        assert code_of(await download(who, first["id"])) == (404, "not_found"), "una reads what is said after she came"
    again = await carla.post(path, {**message, "client_id": "c"})
    assert again.status_code == 201, again.text
    assert (await download(una, first["id"])).status_code == 200, "before SQL knows of the message"

    async def is_third_known_to_sql() -> bool:
        rows = await file_rows.find_rows(scenario.server.engine.archive, files.c.id == first["id"])
        return rows[0].n == 3

    await wait_until(is_third_known_to_sql)
    assert (await download(una, first["id"])).status_code == 200
    assert (await carla.post(path, {**message, "files": [], "client_id": "d"})).status_code == 201
    for who in (carla, una):
        assert (await download(who, first["id"])).status_code == 200
    assert code_of(await download(tom, first["id"])) == (404, "not_found")


async def test_documents_of_a_technician(scenario: Scenario) -> None:
    """A technician adds documents. The staff who review technicians read them in a queue, the oldest first."""
    fixing = await scenario.create_service("Fixing")
    tom = await scenario.create_technician("Tom", fixing, approved=False)
    welding = await scenario.create_service("Welding")
    una = await scenario.create_technician("Una", welding, approved=False)
    rita, olga = [await scenario.create_person(role, role) for role in ("onboarding_manager", "ops_manager")]
    target = f"technician:{tom.id}"
    for who in (una, rita, olga, scenario.admin):
        assert code_of(await upload(who, target, tiny_png())) == (404, "not_found")
    file = (await upload(tom, target, tiny_png())).json()["file"]
    assert file["kind"] == "document"
    for who in (una, olga):
        assert code_of(await download(who, file["id"])) == (404, "not_found")
    for who in (tom, rita, scenario.admin):
        assert (await download(who, file["id"])).status_code == 200

    for who in (tom, olga):
        assert code_of(await who.request("GET", "/v1/technicians?review=pending")) == (403, "forbidden")
    assert code_of(await rita.request("GET", "/v1/technicians?review=done")) == (422, "invalid")
    placed = await rita.request("GET", "/v1/technicians?review=pending&lat=1&lon=1")
    assert [error["pointer"] for error in placed.json()["errors"]] == ["/lat"]
    queue = (await rita.get("/v1/technicians?review=pending"))["items"]
    assert [each["id"] for each in queue] == [tom.id, una.id]
    for service, ids in ((welding, [una.id]), (fixing, [tom.id]), ("svc_none", [])):
        of_service = (await rita.get(f"/v1/technicians?review=pending&service={service}"))["items"]
        assert [each["id"] for each in of_service] == ids
    assert [each["documents"] for each in queue] == [[file], []]
    page = await rita.get("/v1/technicians?review=pending&limit=1")
    assert [each["id"] for each in page["items"]] == [tom.id]
    rest = await rita.get(f"/v1/technicians?review=pending&limit=1&cursor={page['next']}")
    assert [each["id"] for each in rest["items"]] == [una.id] and rest["next"] is None
    review = {"kyc": "approved", "account": "approved"}
    assert (await rita.post(f"/v1/technicians/{tom.id}/review", review)).status_code == 200
    assert [each["id"] for each in (await rita.get("/v1/technicians?review=pending"))["items"]] == [una.id]
    assert (await rita.post(f"/v1/technicians/{una.id}/review", {"kyc": "rejected"})).status_code == 200
    assert (await rita.get("/v1/technicians?review=pending"))["items"] == []
