"""The Open Inference Protocol over gRPC, on a port of its own. Imported only when SCORING_GRPC_PORT is set."""
