# Pictures, clips, sounds, voices, embeddings and models that see, on one GPU or a CPU; text too.
# Build from the repository's root:  docker build -f docker/media.Dockerfile -t REGISTRY/kriptik-media:VERSION .
# Versions are those of requirements.lock. To pin the base to one build of it, add its digest: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11.14-slim-bookworm

FROM $BASE AS build
RUN python -m venv /opt/kriptik
COPY pyproject.toml requirements.lock README.md LICENSE /src/
COPY src /src/src
RUN /opt/kriptik/bin/pip install --no-cache-dir --no-compile --constraint /src/requirements.lock "/src[train,media,vision]"
# Base models to put into the image, by hub id, so that a start needs no network but the server: --build-arg MODELS="org/a org/b"
ARG MODELS=""
RUN mkdir -p /opt/models && for one in $MODELS; do HF_HOME=/opt/models /opt/kriptik/bin/hf download "$one" || exit 1; done

FROM $BASE
RUN useradd --uid 1000 --create-home kriptik && mkdir /workspace && chown kriptik /workspace
COPY --from=build /opt/kriptik /opt/kriptik
COPY --from=build --chown=kriptik /opt/models /opt/models
USER kriptik
WORKDIR /workspace
ENV PATH=/opt/kriptik/bin:$PATH PYTHONUNBUFFERED=1 KRIPTIK_WORK_DIR=/workspace HF_HOME=/opt/models
ENTRYPOINT ["python", "-m", "kriptik.worker.pod"]
