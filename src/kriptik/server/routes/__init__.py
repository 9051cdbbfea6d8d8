"""Thin routes, one file per noun: read, check, call, answer. `ROUTERS` is the table of what lies under /api/training."""

from kriptik.server.routes import access, files, history, jobs, money, notices, plans, resume, system, trials

ROUTERS = (
    plans.router,
    jobs.router,
    history.router,
    money.router,
    files.router,
    trials.router,
    notices.router,
    access.router,
    resume.router,
    system.router,
)
