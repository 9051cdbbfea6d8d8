"""Thin routes, one file per noun: read, check, call, answer. `ROUTERS` is the table of what lies under /api/training."""

from kriptik.server.routes import (
    access,
    catalogue,
    data,
    exports,
    files,
    history,
    jobs,
    making,
    money,
    notices,
    plans,
    reports,
    resume,
    search,
    system,
    trials,
)

ROUTERS = (
    plans.router,
    search.router,
    making.router,
    data.router,
    jobs.router,
    history.router,
    money.router,
    files.router,
    reports.router,
    trials.router,
    exports.router,
    notices.router,
    catalogue.router,
    access.router,
    resume.router,
    system.router,
)
