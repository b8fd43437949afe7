"""Rows of ``audit``: who changed what by hand."""

from pipeline_messaging.connection import Connection


async def add(
    conn: Connection,
    account_id: str,
    *,
    actor: str,
    action: str,
    subject: str,
    detail: str | None = None,
) -> None:
    """Record a change by hand, in the transaction of the change."""
    await conn.execute(
        "INSERT INTO audit (account_id, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)",
        account_id,
        actor,
        action,
        subject,
        detail,
    )
