"""Which errors a task is tried again for."""

from __future__ import annotations

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

RETRIES = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception="tidegate.errors.UnavailableError", action=RetryAction.RETRY),
        RetryRule(exception="tidegate.errors.TidegateError", action=RetryAction.FAIL),
    ]
)
