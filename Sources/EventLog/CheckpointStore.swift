package import Records

/// A consumer's durable "everything below this offset is done", one file per log.
package struct CheckpointStore: Sendable {
    /// The consumer.
    package let consumer: String

    init(consumer: String) {
        self.consumer = consumer
    }

    /// The next offset to consume; zero when nothing was stored or the file is not valid.
    package func load(_ log: LogID) -> Offset {
        .zero
    }

    /// Replaces the checkpoint, atomically and durably, and rings the bell.
    package func store(_ log: LogID, _ offset: Offset) throws(EventLogError) {
    }
}
