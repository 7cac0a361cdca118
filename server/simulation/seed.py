"""Create what a simulation needs: a service, registered users, and technicians with an approved profile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from callout_client import Api
from server.simulation.account import Account, Operator, sign_in
from server.simulation.people_names import person_name

T = TypeVar("T")
MAX_CONCURRENT = 16
"""Enough requests at once to use every core of the server for password hashing. More requests would only wait."""
SERVICE = {"name": "Simulated repair", "category": "simulation"}
PRICE = {"base_amount": 4900, "currency": "EUR", "pricing": "flat"}


async def simulation_service(operator: Operator) -> str:
    """Return the id of the service of all simulated jobs. Create the service if there is none."""
    services = await operator.request("GET", f"/v1/services?category={SERVICE['category']}")
    for service in services["items"]:
        if service["name"] == SERVICE["name"] and service["active"]:
            return str(service["id"])
    reply = await operator.request("POST", "/v1/services", {**SERVICE, **PRICE})
    return str(reply["service"]["id"])


def registration(role: str, number: int, tag: str, password: str) -> dict[str, Any]:
    """Return the body of the registration of one user. The same role, number and tag always give the same e-mail."""
    return {
        "email": f"{role}-{number:03d}.{tag}@callout.example",
        "password": password,
        "name": person_name(role, number),
        "role": role,
    }


async def approved_technician(
    api: Api, operator: Operator, services: Sequence[str], registration_body: dict[str, Any]
) -> Account:
    """Return the account of a technician who may claim, after creating and approving the profile for ``services``."""
    account = await sign_in(api, registration_body)
    profile = {"name": registration_body["name"], "services": [*services]}
    await account.request("PATCH", f"/v1/technicians/{account.id}", profile)
    review = {"kyc": "approved", "account": "approved"}
    await operator.request("POST", f"/v1/technicians/{account.id}/review", review)
    return account


async def run_all(work: Sequence[Callable[[], Awaitable[T]]], count_one: Callable[[], None] = lambda: None) -> list[T]:
    """Call all functions of ``work``, at most ``MAX_CONCURRENT`` at once, and return the results in the order of
    ``work``. Call ``count_one`` after each result. The first failure cancels all others and is raised in an exception
    group.
    """
    free = asyncio.Semaphore(MAX_CONCURRENT)

    async def run_one(make: Callable[[], Awaitable[T]]) -> T:
        async with free:
            result = await make()
        count_one()
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run_one(make)) for make in work]
    return [task.result() for task in tasks]
