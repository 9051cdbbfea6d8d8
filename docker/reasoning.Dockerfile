# As text, with the generators and verifiers of reasoning-gym for GRPO and PPO.
# Build from the repository's root:  docker build -f docker/reasoning.Dockerfile -t REGISTRY/kriptik-reasoning:VERSION .
# Versions are those of requirements.lock. To pin the base to one build of it, add its digest: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11.14-slim-bookworm

FROM $BASE AS build
# pycosat, which reasoning-gym brings, comes as source.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/kriptik
COPY pyproject.toml requirements.lock README.md LICENSE /src/
COPY src /src/src
RUN /opt/kriptik/bin/pip install --no-cache-dir --no-compile --constraint /src/requirements.lock "/src[train,reasoning]"
# Base models to put into the image, by hub id, so that a start needs no network but the server: --build-arg MODELS="org/a org/b"
ARG MODELS=""
RUN mkdir -p /opt/models && for one in $MODELS; do HF_HOME=/opt/models /opt/kriptik/bin/hf download "$one" || exit 1; done
# vLLM for rollouts, in an environment of its own (several GB): --build-arg VLLM=0.33.0
ARG VLLM=""
RUN mkdir -p /opt/vllm && if [ -n "$VLLM" ]; then python -m venv /opt/vllm && /opt/vllm/bin/pip install --no-cache-dir "vllm==$VLLM"; fi

FROM $BASE
RUN useradd --uid 1000 --create-home kriptik && mkdir /workspace && chown kriptik /workspace
COPY --from=build /opt/kriptik /opt/kriptik
COPY --from=build --chown=kriptik /opt/models /opt/models
COPY --from=build /opt/vllm /opt/vllm
USER kriptik
WORKDIR /workspace
ENV PATH=/opt/kriptik/bin:$PATH PYTHONUNBUFFERED=1 KRIPTIK_WORK_DIR=/workspace HF_HOME=/opt/models KRIPTIK_VLLM=/opt/vllm/bin/python
ENTRYPOINT ["python", "-m", "kriptik.worker.pod"]
