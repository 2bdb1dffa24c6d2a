# A client that trains on the CPU. From the root of the source tree:
#
#   docker build -f deploy/docker/client-cpu.Dockerfile -t roughfed-client:0.2.0-cpu .
#
# PyPI's torch brings CUDA libraries, which a CPU does not need: with --build-arg PIP_EXTRA_INDEX_URL=... (PyTorch's
# own index of CPU wheels, named where pytorch.org says how to install it) the image is a fraction of the size. pip's
# other variables are build arguments as well (PIP_INDEX_URL, PIP_CONSTRAINT, ...): they are not kept in the image.
#
# It holds no key, no join line and no data: client.toml and state/ are mounted at /var/lib/roughfed, the join line is a
# file (/run/secrets/join in deploy/compose.yaml), an own app and its data are mounted or come in an image built on this.

ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CONSTRAINT
WORKDIR /src
COPY pyproject.toml MANIFEST.in README.md LICENSE ./
COPY shared shared
COPY server server
COPY client client
COPY deploy deploy
RUN python -m venv /opt/roughfed \
    && python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /opt/roughfed/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[train,data]"

FROM ${PYTHON}
LABEL org.opencontainers.image.title="roughfed client, CPU" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number that means nobody else on the host, and that volumes can be given to.
RUN groupadd --gid 10001 roughfed \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/roughfed --shell /usr/sbin/nologin roughfed \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/roughfed /var/cache/roughfed
COPY --from=build /opt/roughfed /opt/roughfed
# numba keeps the machine code of masked rounds there; without it every start compiles for some seconds.
# A client in a container waits for the next run, and its own /metrics and /healthz have a port that is known.
ENV PATH=/opt/roughfed/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/roughfed \
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
