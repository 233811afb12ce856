"""Traces over OTLP (http/protobuf), when the standard OTEL_EXPORTER_OTLP_ENDPOINT or its like for traces is set.

Whether there are traces is decided at the start: without them nothing of OpenTelemetry is imported, and requests take
the same way as ever. With them, a request has a server span (the conventions of
https://opentelemetry.io/docs/specs/semconv/http/http-spans/, `traceparent` honoured) and below it the spans receive
(until it is in the queue), queue, predict (one batch, with its rows and requests) and respond. A call over gRPC has the
same, by https://opentelemetry.io/docs/specs/semconv/rpc/grpc/.

Spans are exported in the background. What a slow or dead collector cannot take is dropped and counted; a request never
waits for it, and never fails by it.
"""
