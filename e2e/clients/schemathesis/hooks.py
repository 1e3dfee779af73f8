"""What a schema cannot say: which route a body is for, and which times are near enough."""

from datetime import datetime, timedelta, timezone

import schemathesis

ROUTES = {"prompt": "completions", "messages": "chat", "text": "embeddings", "input": "embeddings"}
CALLS = {
    "/gateway/{name}/invocations",
    "/endpoints/{name}/invocations",
    "/v1/routes/{name}/invocations",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/chat/completions",
}


def route_for(body):
    if not isinstance(body, dict):
        return "embeddings"
    return next((route for member, route in ROUTES.items() if member in body), "iris")


def soon(hours):
    return (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def positive(case):
    return case.meta is None or case.meta.generation.mode.is_positive


def aim_order(order):
    if not isinstance(order, dict):
        return
    order["route"] = route_for(order.get("input"))
    if isinstance(order.get("timeouts"), dict) and "attempt" in order["timeouts"]:
        order["timeouts"]["attempt"] = 90
    if "run_at" in order:
        order["run_at"] = soon(1)
    if "deadline" in order:
        order["deadline"] = soon(2)
        if isinstance(order.get("timeouts"), dict):
            order["timeouts"].pop("total", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.headers and "Headrace-Timeout" in case.headers and positive(case):
        case.headers["Headrace-Timeout"] = "30"  # one that is too short is answered with 504, as it says
    if case.headers and case.operation.path in CALLS and any(name.startswith("Job-") for name in case.headers):
        case.headers["Prefer"] = "respond-async"  # else they are named as dropped, right or wrong
    if not positive(case):
        if (case.path_parameters or {}).get("name") == "iris":
            case.path_parameters["name"] = "embeddings"  # no body is wrong on a raw route
        return
    path, body, headers, query = case.operation.path, case.body, case.headers or {}, case.query or {}
    if path.endswith("/invocations"):
        case.path_parameters["name"] = route_for(body)
    elif isinstance(body, dict) and "model" in body:
        body.pop("n", None)  # what the model gives must be what was asked for
        body.pop("dimensions", None)
        case.body["model"] = {"/v1/embeddings": "embeddings", "/v1/completions": "completions"}.get(path, "chat")
    elif path in ("/v1/jobs", "/v1/jobs/{id}"):
        aim_order(body)
        if isinstance(body, dict):
            body.pop("id", None)  # of the path, or beside a key
            body.pop("idempotency_key", None)
            if "deadline" in body or "Job-Deadline" in headers:
                headers.pop("Job-Total-Timeout", None)
                if isinstance(body.get("timeouts"), dict):
                    body["timeouts"].pop("total", None)
    elif path == "/v1/jobs/batch" and isinstance(body, dict):
        for order in body.get("jobs", []):
            aim_order(order)
    if "Job-Attempt-Timeout" in headers:
        headers["Job-Attempt-Timeout"] = "90"
    if "Job-Run-At" in headers:
        headers["Job-Run-At"] = soon(1)
    if "Job-Deadline" in headers:
        headers["Job-Deadline"] = soon(2)
        headers.pop("Job-Total-Timeout", None)
    query.pop("after", None)  # ids of jobs that are listed
    query.pop("before", None)
