# A client that trains on NVIDIA GPUs. From the root of the source tree:
#
#   docker build -f deploy/docker/client-cuda.Dockerfile -t roughfed-client:0.2.0-cuda .
#   docker run --gpus all ...
#
# The CUDA libraries come with PyPI's torch; the base image has what the NVIDIA container toolkit goes by, and refuses a
# driver that is too old for them at the start of the container instead of in the first round. pip's variables are build
# arguments (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_CONSTRAINT): they are not kept in the image.
#
# It holds no key, no join line and no data: see client-cpu.Dockerfile.

ARG CUDA=nvidia/cuda:12.6.3-base-ubuntu24.04

FROM ${CUDA} AS python
# Versions of Ubuntu's packages vanish from its mirrors when they are superseded: pinned, the build would soon fail.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CONSTRAINT
WORKDIR /src
COPY pyproject.toml MANIFEST.in README.md LICENSE ./
COPY shared shared
COPY server server
COPY client client
COPY deploy deploy
RUN python3 -m venv /opt/roughfed \
    && /opt/roughfed/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /opt/roughfed/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[train,data]"

FROM python
LABEL org.opencontainers.image.title="roughfed client, CUDA" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number that means nobody else on the host, and that volumes can be given to.
RUN groupadd --gid 10001 roughfed \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/roughfed --shell /usr/sbin/nologin roughfed \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/roughfed /var/cache/roughfed
COPY --from=build /opt/roughfed /opt/roughfed
# numba keeps the machine code of masked rounds there; without it every start compiles for some seconds.
# A client in a container waits for the next run, and its own /metrics and /healthz have a port that is known.
# It is here for the GPU: without one it refuses to start, where `auto` would train on the CPU unasked.
ENV PATH=/opt/roughfed/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NUMBA_CACHE_DIR=/var/cache/roughfed \
    ROUGHFED_DEVICE__NAME=cuda \
    ROUGHFED_CLIENT__STAY=10 \
    ROUGHFED_HTTP__PORT=9465
USER 10001:10001
WORKDIR /var/lib/roughfed
VOLUME ["/var/lib/roughfed"]
# It listens on 127.0.0.1 only. Healthy is an agent that answers: one that waits for its server is not ill.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9465/healthz', timeout=4)"]
# The agent takes its leave and ends its trainer on it, and is PID 1: the form without a shell passes it on.
STOPSIGNAL SIGTERM
ENTRYPOINT ["roughfed"]
CMD ["join"]
