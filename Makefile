PYTHON ?= python3
VENV := .venv

proto: .venv-proto/.done  ## Generate shared/pb from proto/ with an old protoc (new generated code refuses old runtimes)
	rm -rf build/proto && mkdir -p build/proto
	.venv-proto/bin/python -m grpc_tools.protoc -Iroughfed/pb=proto --python_out=build/proto --pyi_out=build/proto \
	    roughfed/pb/v1/tensor.proto roughfed/pb/v1/secagg.proto roughfed/pb/v1/federation.proto
	cp build/proto/roughfed/pb/v1/*_pb2.py build/proto/roughfed/pb/v1/*_pb2.pyi shared/pb/v1/

.venv-proto/.done:
	$(PYTHON) -m venv .venv-proto && .venv-proto/bin/pip install -q "grpcio-tools==1.71.2" "setuptools<81" && touch $@
