# The image of latentlake, from one set of packages, in two targets:
#   worker    (default) workers of Flink, Spark, Prism; Kubernetes and `docker run IMAGE encode ...`; not root
#   dataflow  Dataflow: the workers' image and the Flex Template's launcher in one
# With GPUs: --build-arg REQUIREMENTS=requirements-gpu.txt; without TensorFlow: requirements-slim.txt (deploy/image).
# See docs/run/docker.md.

FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:20230622_RC00 AS launcher

FROM python:3.11-slim-bookworm AS packages
ARG REQUIREMENTS=requirements.txt
COPY deploy/image/${REQUIREMENTS} /tmp/requirements.txt
RUN python -m venv /opt/latentlake \
    && /opt/latentlake/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt \
    && /opt/latentlake/bin/pip check
COPY deploy/image/shrink /tmp/shrink
# any strip will do
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/* \
    && /tmp/shrink /opt/latentlake/lib/python3.11/site-packages

FROM python:3.11-slim-bookworm AS base
COPY --from=beam /opt/apache/beam/boot /opt/apache/beam/boot
COPY --from=packages /opt/latentlake /opt/latentlake
COPY deploy/image/entrypoint /usr/local/bin/latentlake
COPY LICENSE /app/
COPY lake /app/lake
COPY latentlake /app/latentlake
COPY model /app/model
COPY pipeline /app/pipeline
# who runs the image may not write there, and would compile the modules at every start
RUN python -m compileall -q /app
# the driver's libraries lie below /usr/local/nvidia where Dataflow and GKE mount them
ENV PATH=/opt/latentlake/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["latentlake"]

FROM base AS dataflow
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/app/pipeline/main.py
# Dataflow mounts directories of root's into its containers, and its launcher writes its log below /var/log
# hadolint ignore=DL3002
USER 0

FROM base AS worker
RUN useradd --uid 1000 --create-home latentlake
USER 1000
WORKDIR /data
