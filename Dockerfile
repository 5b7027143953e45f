# A target for each kind of machine; docs/how-to/export.md says more of the last three:
#
#   docker build -t lstn .                             a plain CPU: inference without PyTorch (the default)
#   docker build -t lstn:gpu --target gpu .            an NVIDIA GPU: training, export, TensorRT
#   docker build -t lstn:rtx --target rtx .            plans for RTX GPUs, built on any machine, and run on such a GPU
#   docker build -t lstn:jetson --target jetson .      a Jetson with JetPack 6, built there
#
#   docker run --rm -v "$PWD:/data" lstn infer images/ --engine model.onnx
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD:/data" lstn serve --engine model.onnx --host 0.0.0.0 --insecure
#   docker run --rm --gpus all -v "$PWD:/data" lstn:gpu export --engine trt
#   docker run --rm -v "$PWD:/data" lstn:rtx export model.onnx --engine trt-rtx --target sm86,sm89
#   docker run --rm --runtime nvidia --group-add video -v "$PWD:/data" lstn:jetson export model.onnx --engine trt
#
# Files are read from and written to /data, the folder that you mount; run with --user "$(id -u):$(id -g)" to own them.
# Whoever runs it finds TensorRT's caches in /cache: add -v lstn-cache:/cache to keep them from one run to the next.
# A Jetson's GPU is for the group video, which --user leaves unless --group-add names it.
# Each image lists its Python packages, their versions and licences, as CycloneDX's JSON:
#
#   docker run --rm --entrypoint cat lstn /usr/share/doc/lstn/sbom.cdx.json
#
# The user has a number, by which Kubernetes' runAsNonRoot sees that it is not root.

FROM python:3.12-slim AS wheel
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY lstn lstn
COPY train train
COPY export export
COPY calibration calibration
COPY runtime runtime
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim AS base
COPY --from=wheel /wheels /wheels
COPY constraints.txt deploy/write_sbom.sh /wheels/
RUN useradd --uid 1000 --create-home lstn && mkdir --mode 1777 /cache
ENV XDG_CACHE_HOME=/cache SBOM=/usr/share/doc/lstn/sbom.cdx.json
WORKDIR /data
ENTRYPOINT ["lstn"]

# TensorRT comes from NVIDIA's own package index.
FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[train,export,gpu,trt,serve]" \
 && sh /wheels/write_sbom.sh python $SBOM
USER 1000

FROM base AS rtx
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[runtime,trt-rtx]" \
 && sh /wheels/write_sbom.sh python $SBOM
USER 1000

# TensorRT and its Python bindings are JetPack's own, in the image; the constraints are of another platform. CUDA is 12.6
# there, so cuda-python 12.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS jetson
COPY --from=wheel /wheels /wheels
COPY deploy/write_sbom.sh /wheels/
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all XDG_CACHE_HOME=/cache \
    SBOM=/usr/share/doc/lstn/sbom.cdx.json
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv python3-libnvinfer \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m pip install --no-cache-dir "$(echo /wheels/*.whl)[runtime]" 'cuda-python>=12.9.1,<13' \
 && sh /wheels/write_sbom.sh python3 $SBOM \
 && useradd --uid 1000 --create-home --groups video lstn && mkdir --mode 1777 /cache
USER 1000
WORKDIR /data
ENTRYPOINT ["lstn"]

# The last target is the default one.
FROM base AS cpu
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[runtime,serve]" \
 && sh /wheels/write_sbom.sh python $SBOM
USER 1000
