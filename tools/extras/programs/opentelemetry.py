"""Extra ``opentelemetry``: storing a file makes a span and metrics."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from filerow import FileObject
from filerow.ext.opentelemetry import install
from tools.extras.programs.model import CONTENT, directory


def main() -> None:
    """Observe a file being stored."""
    directory()
    exporter, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    install(tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    FileObject("docs", "a.txt", content=CONTENT).save()
    [span] = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["filerow.io.size"] == len(CONTENT)
    assert "filerow.storage.operation.duration" in str(reader.get_metrics_data())


if __name__ == "__main__":
    main()
