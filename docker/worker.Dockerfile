# What a rented machine runs: fetches its job, works, gives the machine back. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile -t REGISTRY/kriptik-worker:VERSION .
FROM python:3.11-slim-bookworm
RUN useradd --uid 1000 --create-home kriptik && mkdir /workspace && chown kriptik /workspace
COPY . /src
RUN pip install --no-cache-dir --constraint /src/requirements.lock "/src[train]" && rm -rf /src
USER kriptik
WORKDIR /workspace
ENV PYTHONUNBUFFERED=1 KRIPTIK_WORK_DIR=/workspace
ENTRYPOINT ["python", "-m", "kriptik.worker.pod"]
