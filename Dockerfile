# Two images. For a plain CPU (the default), and for an NVIDIA GPU:
#
#   docker build -t lstn .
#   docker build -t lstn:gpu --target gpu .
#
#   docker run --rm -v "$PWD:/data" lstn infer images/ --engine model.onnx
#   docker run --rm --gpus all -v "$PWD:/data" lstn:gpu export --engine trt
#
# Files are read from and written to /data, the folder that you mount; run with --user "$(id -u):$(id -g)" to own them.

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

# Training, export and TensorRT on the GPU of the machine that runs it. TensorRT comes from NVIDIA's own package index.
FROM python:3.12-slim AS gpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt \
      "$(echo /wheels/*.whl)[train,export,gpu,trt]" \
 && useradd --create-home lstn
USER lstn
WORKDIR /data
ENTRYPOINT ["lstn"]

# Inference on a CPU, without PyTorch. The last target is the default one.
FROM python:3.12-slim AS cpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[runtime]" \
 && useradd --create-home lstn
USER lstn
WORKDIR /data
ENTRYPOINT ["lstn"]
