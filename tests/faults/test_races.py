"""Fault 25: a cancellation races the completion, and exactly one of them wins."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.faults.harness.api import Api, Refused
from tests.faults.harness.scene import Scene


def race(scene: Scene, *, rounds: int, seed: int, threads: int = 8) -> None:
    """Start and cancel `rounds` executions, each at another moment of its short life."""

    def one_client(client: int) -> None:
        random = Random(seed * 1000 + client)
        with scene.new_api() as api:
            for _ in range(rounds // threads):
                flow = random.choice(["faults/one", "faults/chain", "faults/fan"])
                input = {"items": [1, 2]} if flow == "faults/fan" else {}
                id = api.start(flow, input)["id"]
                for _ in range(random.randrange(3)):
                    api.execution(id)
                assert cancel(api, id) in {"cancelled", "cancelling", "running", "completed", "too late"}

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one_client, range(threads)))


def cancel(api: Api, id: str) -> str:
    """The status that the cancellation was answered with, or `too late`."""
    try:
        status: str = api.cancel(id)["status"]
    except Refused as refused:
        found = api.execution(id)
        lost = (refused.status, refused.problem["code"], found["status"])
        return "too late" if lost == (409, "execution_ended", "completed") else f"{lost}: {found['error']}"
    return status


def test_a_cancel_and_a_completion_have_one_winner(scene: Scene) -> None:
    race(scene, rounds=1000, seed=25)
    facts = scene.verdict()
    assert len(facts.executions) == 1000
    statuses = [row["status"] for row in facts.executions.values()]
    assert set(statuses) <= {"completed", "cancelled"}
    cancelled = {one.execution for one in scene.acknowledgements.lines(kind="cancel") if one.status == "cancelled"}
    assert cancelled <= {id for id, row in facts.executions.items() if row["status"] == "cancelled"}
