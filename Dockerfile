# syntax=docker/dockerfile:1
# One image for the operator and its workers.
#
#   docker build --tag registry.example.net/backup/reconciler:0.1.0 .
#   docker build --target mounts …     with mount.nfs and mount.cifs, for `mounted: Operator`
#
# To pin the base to the byte: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
COPY . /source
RUN /source/image/install.sh /source /opt/reconciler /tmp/work

FROM ${BASE} AS program
COPY --from=build /opt/reconciler /opt/reconciler
# 65532 is nobody in particular: the manifests name the same.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/reconciler
ENV PATH=/opt/reconciler/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RECONCILER_STATE=/var/lib/reconciler
USER 65532:65532
EXPOSE 8080
LABEL org.opencontainers.image.title=reconciler \
      org.opencontainers.image.licenses=Apache-2.0
ENTRYPOINT ["reconciler"]

FROM program AS mounts
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nfs-common cifs-utils \
    && rm -rf /var/lib/apt/lists/*

# What `docker build` makes where no target is named.
FROM program
