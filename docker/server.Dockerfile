# The control plane: server, web page (built before: `make web`), command line. It needs no GPU and no PyTorch.
# Build from the repository's root:  docker build -f docker/server.Dockerfile -t REGISTRY/kriptik-server:VERSION .
# Versions are those of requirements.lock. To pin the base to one build of it, add its digest: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11.14-slim-bookworm

FROM $BASE AS build
RUN python -m venv /opt/kriptik
COPY pyproject.toml requirements.lock README.md LICENSE /src/
COPY src /src/src
RUN /opt/kriptik/bin/pip install --no-cache-dir --no-compile --constraint /src/requirements.lock "/src[server]"

FROM $BASE
RUN useradd --uid 1000 --create-home kriptik && mkdir /state && chown kriptik /state
COPY --from=build /opt/kriptik /opt/kriptik
USER kriptik
WORKDIR /state
ENV PATH=/opt/kriptik/bin:$PATH PYTHONUNBUFFERED=1 KRIPTIK_HOME=/state KRIPTIK_BEHIND_TLS_PROXY=1
EXPOSE 7860
VOLUME /state
ENTRYPOINT ["kriptik", "up", "--host", "0.0.0.0"]
