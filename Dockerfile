# One image for every command: migrate, launch, worker (on a CPU or a GPU), dashboard; docs/deploy.md
# says how to use it. It has no HEALTHCHECK of its own, because what is healthy depends on the
# command: docker-compose.yml and deploy/kubernetes/ have one for each that serves.

# Pinned by its exact tag. A tag can be moved and a digest cannot: docs/deploy.md says how to add it.
FROM python:3.12.14-slim-bookworm AS base
ENV PATH=/opt/weightsearch/bin:$PATH

# The dependencies, in a layer that stays as long as the two files do.
FROM base AS dependencies
WORKDIR /src
RUN python -m venv /opt/weightsearch
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > requirements.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt

FROM base AS wheel
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/weightsearch && pip install --no-cache-dir -c constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY studies studies
COPY dashboards dashboards
COPY weightsearch weightsearch
RUN python -m hatchling build --target wheel --directory /dist

FROM base
RUN groupadd --gid 10001 weightsearch \
    && useradd --uid 10001 --gid 10001 --home-dir /state --no-create-home --shell /usr/sbin/nologin weightsearch \
    && install -d -m 0700 -o 10001 -g 10001 /state
COPY --from=dependencies /opt/weightsearch /opt/weightsearch
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --no-deps /dist/*.whl
# Everything that is written lies under /state; the rest can be read-only. `compute,utility`: the
# driver's libraries and nvidia-smi, by which GPUs are found.
ENV WEIGHTSEARCH_HOME=/state \
    HOME=/state \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /state
# Where own studies are mounted, so that they can be named by their file.
WORKDIR /studies
USER 10001:10001
# A worker gives its point back and leaves within 30 s. As process 1 Python would ignore the signal
# until the worker listens: start with an init (`docker run --init`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["weightsearch"]
CMD ["--help"]
