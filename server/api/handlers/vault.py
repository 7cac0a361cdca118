"""The vault: the record of a job, its signature, receipts and their verification."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec
from msgspec import UnsetType

from engine.domain import jobs, signing
from engine.domain.commands import CommandInput
from engine.domain.signing import Signature
from engine.errors import FieldError, Invalid
from engine.events import rfc3339_of
from engine.rules.signature_image import NotASignature, clean_png, encode_strokes
from engine.vault import checks, receipts
from engine.vault.receipts import Receipt
from server.api.endpoint import RequestContext
from server.api.vault_file import VaultFile
from server.http import responses
from server.http.responses import Response, StreamingResponse
from server.schemas.decode import Body, NoQuery
from server.schemas.vault import Sign, VaultQuery, VerifyQuery

DATA_URL = "data:image/png;base64,"


async def read_record(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the record of a job, which its customer signs. It is a pure function of the job. Everybody who has the
    record can compute its digest.
    """
    record = await signing.read_record(call.engine, call.caller, call.id)
    return responses.json_response({"record": responses.embed_json(record.text), "sha256": record.sha256})


async def sign(call: RequestContext[Sign, NoQuery]) -> Response:
    """Sign the record of a job. `sha256` is the digest of the record that the customer was shown.

    If the record has changed since (another photo, another price), the answer is `version_conflict` with the present
    `record` and its `sha256`.
    """
    if call.body.is_empty:
        step = CommandInput(command=signing.COMMAND)
        return responses.step_response(
            await jobs.run_command(call.engine, call.caller, call.id, step, key=call.key, trace=call.trace)
        )
    # in a thread, because it decodes and checks up to 256 KiB
    signature = await asyncio.to_thread(_signature_of, call.body)
    done = await signing.sign_job(call.engine, call.caller, call.id, signature, key=call.key, trace=call.trace)
    receipt = {"id": signing.receipt_id(call.id)}
    return responses.step_response(done, receipt=receipt)


async def read(call: RequestContext[Body, VaultQuery]) -> Response | StreamingResponse:
    """Return a receipt with its evidence to the parties of its job and to ops."""
    receipt = await receipts.read_own_receipt(call.engine, call.caller, call.id)
    if call.query.format == "zip":
        return VaultFile(call.engine, receipt, call.caller.id)
    image = await receipts.read_blob(call.engine, receipt.row.image) if receipt.row.image else None
    return responses.object_response("receipt", _receipt_members(receipt, image))


async def verify(call: RequestContext[Body, VerifyQuery]) -> Response:
    """Verify a receipt. The reply has the result of each check by name, and no part of the record. A digest that is not
    the record's is refused as `not_found`.
    """
    results = await receipts.verify_receipt(call.engine, call.id, call.query.sha256)
    summary = {"verified": checks.is_verified(results), "pending": checks.is_pending(results)}
    return responses.json_response({"receipt": call.id, **summary, "checks": results})


def _signature_of(body: Sign) -> Signature:
    """Return the signature in a body. Raises Invalid if the image or the strokes cannot be a signature."""
    digest, name = str(body.sha256), str(body.name)
    if isinstance(body.image, UnsetType):
        try:
            return Signature(digest, name, encode_strokes(body.strokes or []), "strokes")
        except NotASignature as error:
            raise Invalid(errors=[FieldError("/strokes", str(error))]) from error
    try:
        return Signature(
            digest, name, clean_png(base64.b64decode(body.image.removeprefix(DATA_URL), validate=True)), "png"
        )
    except NotASignature as error:
        raise Invalid(errors=[FieldError("/image", str(error))]) from error
    except ValueError:  # binascii.Error is a ValueError
        raise Invalid(errors=[FieldError("/image", "Not base64")]) from None


def _receipt_members(receipt: Receipt, image: bytes | None) -> dict[str, Any]:
    row, evidence, document = receipt.row, receipt.evidence, receipt.evidence.decoded_document()
    data = base64.b64encode(image).decode() if image is not None else None
    members = {
        "id": row.id,
        "job": row.job,
        "at": rfc3339_of(row.at),
        "by": {"id": document.by},
        "sha256": document.record_sha256,
        "document": row.document,
        "image": {"kind": row.image_kind, "sha256": document.image_sha256, "data": data},
        "pending": evidence.signature is None or evidence.tree is None,
        "record": msgspec.Raw(row.record.encode()) if row.record is not None else None,
        "name": row.name,
        "salt": row.salt,
        "signature": evidence.signature,
        "key": row.key,
        "event": evidence.event,
        "leaf": evidence.leaf,
        "tree": evidence.tree,
        "erased": evidence.erased or None,
    }
    return {name: value for name, value in members.items() if value is not None}
